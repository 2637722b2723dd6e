import json
import subprocess
import sys
from pathlib import Path

import pytest
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config

from pipeline.config import ConfigError, load_config
from pipeline.workdir import Workdir, WorkdirError, write_atomically

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    workdir = Workdir(tmp_path / "runs" / "mine")
    workdir.root.mkdir(parents=True)
    return workdir


def test_the_lock_makes_the_folder_and_its_parents(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path / "a" / "b")
    with workdir.locked():
        assert workdir.root.is_dir()


@pytest.mark.parametrize(
    "name", ["a b", "día, 100 %", "#1 (copy)", "-x", "x;y&z=~'\"`<>!@+:", "犬"]
)
def test_a_path_without_special_characters_is_usable(tmp_path: Path, name: str) -> None:
    Workdir(tmp_path / name).require_usable()


def test_the_longest_path_is_the_longest_that_the_database_can_be_opened_at(
    tmp_path: Path,
) -> None:
    def connect(root: Path) -> None:
        with Metadata(sqlite_metadata_connection_config(str(Workdir(root).metadata))) as metadata:
            metadata.store.get_artifact_types()

    root = tmp_path / ("x" * 200)
    root /= "y" * (504 - len(str(root)) - len("//metadata.sqlite"))
    root.mkdir(parents=True)
    Workdir(root).require_usable()
    connect(root)
    longer = root.with_name(f"{root.name}y")
    longer.mkdir()
    with pytest.raises(ConfigError, match="at least 1 bytes shorter"):
        Workdir(longer).require_usable()
    with pytest.raises(RuntimeError, match="unable to open database file"):
        connect(longer)


def test_a_second_holder_is_refused_until_the_first_has_gone(workdir: Workdir) -> None:
    with (
        workdir.locked(),
        pytest.raises(WorkdirError, match=f"another run is using {workdir.root}.*--workdir"),
        workdir.locked(),
    ):
        pytest.fail("two runs in one folder")
    with workdir.locked():
        pass


def test_a_holder_in_another_process_is_a_holder_and_its_death_ends_it(workdir: Workdir) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.workdir import Workdir\n"
        "with Workdir(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(workdir.root)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WorkdirError, match="another run"), workdir.locked():
            pytest.fail("two runs in one folder")
        holder.kill()
        holder.wait()
        with workdir.locked():
            pass


def test_files_of_the_user_are_left_alone(workdir: Workdir) -> None:
    notes = workdir.root / "notes.txt"
    notes.write_text("mine")
    (workdir.root / "folder").mkdir()
    with workdir.locked():
        workdir.store_config(load_config("demo"))
        workdir.store_metrics({"a": 1})
    assert notes.read_text() == "mine"
    found = {path.name for path in workdir.root.iterdir()}
    assert found == {"notes.txt", "folder", ".lock", "config.json", "metrics.json"}


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    root = tmp_path / "file" / "below"
    with (
        pytest.raises(WorkdirError, match=f"cannot write in {root}: .*--workdir"),
        Workdir(root).locked(),
    ):
        pytest.fail("made below a file")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WorkdirError, match="cannot write"), Workdir(tmp_path / "file").locked():
        pytest.fail("a file is not a folder")
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc to refuse the writing")
def test_a_folder_that_cannot_be_written_is_refused_even_to_root() -> None:
    with pytest.raises(WorkdirError, match="cannot write in /proc/self"):
        Workdir(Path("/proc/self")).locked().__enter__()


def test_an_error_inside_is_not_mistaken_for_one_of_the_folder(workdir: Workdir) -> None:
    with pytest.raises(OSError, match="elsewhere"), workdir.locked():
        raise OSError("elsewhere")


def test_a_fresh_folder_has_no_configuration(workdir: Workdir) -> None:
    assert workdir.stored_config() is None


def test_the_configuration_comes_back_as_it_was_stored(workdir: Workdir) -> None:
    config = load_config("tiny", overrides=['classes=["chien", "été"]', "training.seed=7"])
    workdir.store_config(config)
    assert workdir.stored_config() == config
    workdir.store_config(load_config("demo"))
    assert workdir.stored_config() == load_config("demo")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"classes": ["a", "b"], "age": 3}', '{"training": {"batch_size": 0}}'],
)
def test_a_damaged_configuration_is_named_and_to_be_deleted(workdir: Workdir, text: str) -> None:
    file = workdir.root / "config.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        workdir.stored_config()
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{file}: ")
    assert "delete the file" in line


def test_a_configuration_of_bytes_that_are_not_text_is_damaged_too(workdir: Workdir) -> None:
    (workdir.root / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"config\.json.*delete the file"):
        workdir.stored_config()


def test_metrics_are_json(workdir: Workdir) -> None:
    workdir.store_metrics({"accuracy": 0.5, "model": None})
    assert json.loads(workdir.metrics.read_text()) == {"accuracy": 0.5, "model": None}


def test_writing_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, "one")
    write_atomically(file, "two")
    assert file.read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, "one")

    def fail(file: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, "two")
    assert file.read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_every_path_lies_inside_the_folder(workdir: Workdir) -> None:
    paths = [
        workdir.drawn_photos,
        workdir.data,
        workdir.pipeline_root,
        workdir.metadata,
        workdir.serving,
        workdir.log,
        workdir.metrics,
        workdir.curves,
    ]
    assert len(set(paths)) == len(paths)
    assert all(path.is_relative_to(workdir.root) for path in paths)
    assert workdir.serving == workdir.root / "serving" / "dog_emotion"
