"""Which model is found in a folder and among runs."""

import shutil
from pathlib import Path

import pytest

from serving.asking.errors import ModelError
from serving.asking.pushed import find_version, newest_model


def fake_version(folder: Path) -> Path:
    """The files that make a version complete."""
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    (folder / "variables" / "variables.index").touch()
    return folder


def test_a_version_stands_for_itself(tmp_path: Path) -> None:
    version = fake_version(tmp_path / "3")
    assert find_version(version) == version
    assert find_version(fake_version(tmp_path / "any name")) == tmp_path / "any name"


def test_the_newest_complete_version_wins_by_number(tmp_path: Path) -> None:
    for name in ("9", "10", "latest", "10.backup", "-11", "²"):
        fake_version(tmp_path / name)
    unfinished = fake_version(tmp_path / "12")
    (unfinished / "variables" / "variables.index").unlink()
    (fake_version(tmp_path / "13") / "saved_model.pb").unlink()
    (tmp_path / "14").touch()
    assert find_version(tmp_path) == tmp_path / "10"


@pytest.mark.parametrize("name", ["missing", "file", "empty", "unfinished", "x" * 300])
def test_no_model_is_one_line_naming_the_folder_and_the_fix(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    unfinished = fake_version(tmp_path / "unfinished")
    shutil.rmtree(unfinished / "variables")
    with pytest.raises(ModelError) as caught:
        find_version(tmp_path / name)
    message = str(caught.value)
    assert str(tmp_path / name) in message
    assert "\n" not in message
    assert "`dog-emotion run`" in message or "choose another" in message


def test_the_newest_model_of_all_runs_is_found(tmp_path: Path) -> None:
    old = fake_version(tmp_path / "photos" / "serving" / "dog_emotion" / "99")
    new = fake_version(tmp_path / "demo" / "serving" / "dog_emotion" / "100")
    fake_version(tmp_path / "demo" / "serving" / "another_model" / "200")
    fake_version(tmp_path / "demo" / "pipeline" / "dog_emotion" / "300")
    assert newest_model(tmp_path) == new
    shutil.rmtree(new)
    assert newest_model(tmp_path) == old


def test_no_run_yet_says_what_makes_a_model(tmp_path: Path) -> None:
    for runs in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelError, match="`dog-emotion run`") as caught:
            newest_model(runs)
        assert str(runs) in str(caught.value)
