import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.pusher import fingerprint, push, versions
from serving.errors import ModelError
from serving.predictor import find_version

NOW = 1_700_000_000


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "dog_emotion"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time, which then stands still."""

    def set_to(now: float) -> None:
        monkeypatch.setattr(time, "time", lambda: now)

    set_to(NOW)
    return set_to


def write_model(folder: Path, content: str) -> Path:
    """The files of a SavedModel."""
    for name in ("saved_model.pb", "variables/variables.index", "assets/labels"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{name} {content}")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): file.read_text()
        for file in folder.rglob("*")
        if file.is_file()
    }


def names(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir())


def test_a_version_is_a_copy_named_by_the_time(tmp_path: Path, base: Path) -> None:
    model = write_model(tmp_path / "model", "first")
    version = push(model, base)
    assert version == base / str(NOW)
    assert contents(version) == contents(model)
    assert names(base) == [str(NOW)]
    assert find_version(base) == version


def test_the_same_model_is_never_pushed_twice(
    tmp_path: Path, base: Path, clock: Callable[[float], None]
) -> None:
    first = push(write_model(tmp_path / "1", "first"), base)
    clock(NOW + 10)
    second = push(write_model(tmp_path / "2", "second"), base)
    clock(NOW + 20)
    assert push(write_model(tmp_path / "3", "first"), base) == first
    assert push(write_model(tmp_path / "4", "second"), base) == second
    assert versions(base) == [first, second]


@pytest.mark.parametrize("later", [0, -(10**8), 5])
def test_another_model_gets_a_greater_number_whatever_the_clock(
    tmp_path: Path, base: Path, clock: Callable[[float], None], later: float
) -> None:
    first = push(write_model(tmp_path / "1", "first"), base)
    clock(NOW + later)
    second = push(write_model(tmp_path / "2", "second"), base)
    assert int(second.name) == NOW + max(1, later)
    assert versions(base) == [first, second]
    assert find_version(base) == second


def test_numbers_count_as_numbers(tmp_path: Path, base: Path) -> None:
    for number in (9, 10, 100):
        write_model(base / str(number), str(number))
    assert [version.name for version in versions(base)] == ["9", "10", "100"]


def test_only_complete_versions_count(tmp_path: Path, base: Path) -> None:
    complete = write_model(base / "7", "model")
    (write_model(base / str(NOW), "copied by hand, half") / "saved_model.pb").unlink()
    write_model(base / "notes", "no number")
    (base / "8").touch()
    assert versions(base) == [complete]
    assert push(write_model(tmp_path / "same", "model"), base) == complete


def test_a_half_version_of_somebody_is_neither_taken_nor_overwritten(
    tmp_path: Path, base: Path
) -> None:
    half = write_model(base / str(NOW), "copied by hand, half")
    (half / "saved_model.pb").unlink()
    before = contents(half)
    version = push(write_model(tmp_path / "model", "whole"), base)
    assert int(version.name) > NOW
    assert contents(half) == before


def test_a_kill_while_copying_leaves_nothing_a_server_would_see(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model", "first")
    copytree = shutil.copytree
    copied: list[str] = []

    def copy_until_killed(source: str, target: str) -> str:
        if len(copied) == 2:
            raise KeyboardInterrupt
        copied.append(target)
        return shutil.copy2(source, target)

    with monkeypatch.context() as patches:
        patches.setattr(
            shutil,
            "copytree",
            lambda source, target, *_: copytree(source, target, copy_function=copy_until_killed),
        )
        with pytest.raises(KeyboardInterrupt):
            push(model, base)
    assert len(copied) == 2
    assert Path(copied[-1]).is_file()
    assert versions(base) == []
    assert not [name for name in names(base) if name.isdecimal()]
    with pytest.raises(ModelError, match="holds no complete model"):
        find_version(base)

    (base / ".unfinished" / "left over").touch()
    version = push(model, base)
    assert contents(version) == contents(model)
    assert names(base) == [version.name]


def test_the_fingerprint_is_of_names_and_contents(tmp_path: Path) -> None:
    model = fingerprint(write_model(tmp_path / "a", "first"))
    assert fingerprint(write_model(tmp_path / "elsewhere" / "b", "first")) == model
    assert fingerprint(write_model(tmp_path / "c", "second")) != model
    renamed = write_model(tmp_path / "d", "first")
    (renamed / "assets" / "labels").rename(renamed / "assets" / "names")
    assert fingerprint(renamed) != model


@pytest.mark.parametrize("blessed", [True, False])
def test_the_node_pushes_what_is_blessed_and_nothing_else(
    tmp_path: Path, base: Path, run_node: Any, new_artifact: Any, blessed: bool
) -> None:
    model = new_artifact(standard_artifacts.Model)
    write_model(Path(path_utils.serving_model_dir(model.uri)), "trained")
    blessing = new_artifact(standard_artifacts.ModelBlessing)
    blessing.set_int_custom_property("blessed", int(blessed))
    outputs = run_node(
        "Pusher", {"model": model, "model_blessing": blessing}, serving_root=str(base)
    )
    pushed = outputs["pushed_model"]
    assert pushed.get_int_custom_property("pushed") == int(blessed)
    assert base.exists() == blessed
    if blessed:
        assert names(base) == [str(NOW)]
        assert pushed.get_string_custom_property("pushed_destination") == str(base / str(NOW))
        assert pushed.get_string_custom_property("pushed_version") == str(NOW)
