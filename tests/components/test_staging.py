from pathlib import Path

import pytest
import tensorflow as tf

from components.staging import is_remote, readable, writable


def write(uri: str, content: str) -> None:
    tf.io.gfile.makedirs(uri.rpartition("/")[0])
    with tf.io.gfile.GFile(uri, "w") as file:
        file.write(content)


def read(uri: str) -> str:
    with tf.io.gfile.GFile(uri) as file:
        return str(file.read())


@pytest.mark.parametrize(
    ("uri", "expected"),
    [("gs://bucket/model", True), ("/runs/model", False), ("runs/a:/model", False)],
)
def test_a_uri_tells_whether_it_is_remote(uri: str, expected: bool) -> None:
    assert is_remote(uri) == expected


def test_what_is_local_is_read_and_written_where_it_is(tmp_path: Path) -> None:
    for local in (readable(str(tmp_path / "here")), writable(str(tmp_path / "here"))):
        with local as path:
            assert path == tmp_path / "here"
    assert list(tmp_path.iterdir()) == []


def test_a_remote_file_is_read_from_a_copy_of_its_name(remote: str) -> None:
    write(f"{remote}/backbone.weights.h5", "weights")
    with readable(f"{remote}/backbone.weights.h5") as file:
        assert file.name == "backbone.weights.h5"
        assert file.read_text() == "weights"
    assert not file.exists()


def test_a_remote_folder_is_read_from_a_copy_with_all_below_it(remote: str) -> None:
    write(f"{remote}/model/saved_model.pb", "graph")
    write(f"{remote}/model/variables/variables.index", "index")
    with readable(f"{remote}/model/") as folder:
        assert folder.name == "model"
        assert (folder / "saved_model.pb").read_text() == "graph"
        assert (folder / "variables" / "variables.index").read_text() == "index"
    assert not folder.exists()


def test_a_remote_file_that_is_missing_is_an_error(remote: str) -> None:
    with pytest.raises(tf.errors.NotFoundError), readable(f"{remote}/gone"):
        pass


def test_a_remote_folder_is_written_when_the_block_ends(remote: str) -> None:
    write(f"{remote}/run/left over by a killed task", "")
    with writable(f"{remote}/run") as folder:
        (folder / "logs").mkdir(parents=True)
        (folder / "logs" / "events").write_text("logged")
        assert not tf.io.gfile.exists(f"{remote}/run/logs")
    assert tf.io.gfile.listdir(f"{remote}/run") == ["logs"]
    assert read(f"{remote}/run/logs/events") == "logged"
    assert not folder.exists()


def test_a_remote_folder_stays_as_it_was_when_the_block_raises(remote: str) -> None:
    write(f"{remote}/run/before", "")

    def write_half() -> None:
        with writable(f"{remote}/run") as folder:
            folder.mkdir()
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert tf.io.gfile.listdir(f"{remote}/run") == ["before"]
