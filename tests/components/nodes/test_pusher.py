import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.nodes.pusher import push, versions
from components.saved_model import fingerprint
from components.staging import is_remote
from serving.asking.errors import ModelError
from serving.asking.pushed import find_version

NOW = 1_700_000_000


@pytest.fixture(params=["local", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path, remote: str) -> str:
    """Where models and versions are."""
    return remote if request.param == "remote" else str(tmp_path)


@pytest.fixture
def base(place: str) -> str:
    return f"{place}/serving/dog_emotion"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time, which then stands still."""

    def set_to(now: float) -> None:
        monkeypatch.setattr(time, "time", lambda: now)

    set_to(NOW)
    return set_to


def write(file: str, content: str) -> None:
    tf.io.gfile.makedirs(file.rpartition("/")[0])
    with tf.io.gfile.GFile(file, "w") as stream:
        stream.write(content)


def write_model(folder: str, content: str) -> str:
    """The files of a SavedModel."""
    for name in ("saved_model.pb", "variables/variables.index", "assets/labels"):
        write(f"{folder}/{name}", f"{name} {content}")
    return folder


def contents(folder: str) -> dict[str, str]:
    found = {}
    for parent, _, files in tf.io.gfile.walk(folder):
        for file in files:
            with tf.io.gfile.GFile(f"{parent}/{file}") as stream:
                found[f"{parent}/{file}".removeprefix(f"{folder}/")] = stream.read()
    return found


def names(base: str) -> list[str]:
    return sorted(tf.io.gfile.listdir(base))


def number(version: str) -> int:
    return int(version.rpartition("/")[2])


def test_a_version_is_a_copy_named_after_the_time(place: str, base: str) -> None:
    model = write_model(f"{place}/model", "first")
    version = push(model, base)
    assert version == f"{base}/{NOW}"
    assert contents(version) == contents(model)
    assert names(base) == [str(NOW)]
    assert is_remote(base) or find_version(Path(base)) == Path(version)


def test_the_same_model_is_not_pushed_twice_in_a_row(
    place: str, base: str, clock: Callable[[float], None]
) -> None:
    first = push(write_model(f"{place}/1", "first"), base)
    clock(NOW + 10)
    assert push(write_model(f"{place}/2", "first"), base) == first
    assert versions(base) == [first]


def test_a_model_that_was_served_before_becomes_the_newest_again(
    place: str, base: str, clock: Callable[[float], None]
) -> None:
    """Servers take the newest version, so an older one with the same content is not enough."""
    first = push(write_model(f"{place}/1", "first"), base)
    clock(NOW + 10)
    second = push(write_model(f"{place}/2", "second"), base)
    clock(NOW + 20)
    again = push(write_model(f"{place}/3", "first"), base)
    assert versions(base) == [first, second, again]
    assert contents(again) == contents(first)


@pytest.mark.parametrize("later", [0, -(10**8), 5])
def test_another_model_gets_a_greater_number_whatever_the_clock(
    place: str, base: str, clock: Callable[[float], None], later: float
) -> None:
    first = push(write_model(f"{place}/1", "first"), base)
    clock(NOW + later)
    second = push(write_model(f"{place}/2", "second"), base)
    assert number(second) == NOW + max(1, later)
    assert versions(base) == [first, second]
    assert is_remote(base) or find_version(Path(base)) == Path(second)


def test_numbers_count_as_numbers(base: str) -> None:
    for version in (9, 10, 100):
        write_model(f"{base}/{version}", str(version))
    assert [number(version) for version in versions(base)] == [9, 10, 100]


def test_folders_are_listed_as_object_stores_do(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    version = write_model(f"{base}/9", "model")
    monkeypatch.setattr(tf.io.gfile, "listdir", lambda _: ["9/", ".unfinished/"])
    assert versions(base) == [version]


@pytest.mark.parametrize("missing", ["saved_model.pb", "variables/variables.index"])
def test_only_complete_versions_count(place: str, base: str, missing: str) -> None:
    complete = write_model(f"{base}/7", "model")
    tf.io.gfile.remove(write_model(f"{base}/{NOW}", "copied by hand, half") + f"/{missing}")
    write_model(f"{base}/notes", "no number")
    write(f"{base}/8", "no folder")
    assert versions(base) == [complete]
    assert push(write_model(f"{place}/same", "model"), base) == complete


def test_an_incomplete_version_is_neither_taken_nor_overwritten(place: str, base: str) -> None:
    half = write_model(f"{base}/{NOW}", "copied by hand, half")
    tf.io.gfile.remove(f"{half}/saved_model.pb")
    before = contents(half)
    version = push(write_model(f"{place}/model", "whole"), base)
    assert number(version) > NOW
    assert contents(half) == before


def test_a_kill_while_copying_leaves_nothing_a_server_would_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "serving" / "dog_emotion"
    model = write_model(str(tmp_path / "model"), "first")
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
            push(model, str(base))
    assert len(copied) == 2
    assert Path(copied[-1]).is_file()
    assert versions(str(base)) == []
    assert not [name for name in names(str(base)) if name.isdecimal()]
    with pytest.raises(ModelError, match="holds no complete model"):
        find_version(base)

    (base / ".unfinished" / "left over").touch()
    version = push(model, str(base))
    assert contents(version) == contents(model)
    assert names(str(base)) == [str(NOW)]


def test_a_remote_copy_that_fails_leaves_no_version(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = f"{remote}/serving", write_model(f"{remote}/model", "first")
    copy = tf.io.gfile.copy

    def fail_at_the_variables(source: str, target: str, overwrite: bool = False) -> None:
        if target.startswith(base) and "variables" in target:
            raise tf.errors.UnavailableError(None, None, "try again later")
        copy(source, target, overwrite=overwrite)

    with monkeypatch.context() as patches:
        patches.setattr(tf.io.gfile, "copy", fail_at_the_variables)
        with pytest.raises(tf.errors.UnavailableError):
            push(model, base)
    assert names(base) == [".unfinished"]
    assert versions(base) == []

    write(f"{base}/.unfinished/left over", "")
    version = push(model, base)
    assert contents(version) == contents(model)
    assert names(base) == [str(NOW)]


def test_a_remote_version_is_complete_with_its_last_file(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, model = f"{remote}/serving", write_model(f"{remote}/model", "first")
    rename = tf.io.gfile.rename
    renamed: list[str] = []

    def rename_until_killed(source: str, target: str) -> None:
        if len(renamed) == 2:
            raise KeyboardInterrupt
        renamed.append(target)
        rename(source, target)

    with monkeypatch.context() as patches:
        patches.setattr(tf.io.gfile, "rename", rename_until_killed)
        with pytest.raises(KeyboardInterrupt):
            push(model, base)
    assert names(base) == [".unfinished", str(NOW)]
    assert versions(base) == []

    version = push(model, base)
    assert number(version) == NOW + 1
    assert contents(version) == contents(model)
    assert versions(base) == [version]


def test_a_store_on_which_a_folder_goes_with_its_last_file_is_pushed_to_as_any_other(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are no markers for folders."""
    base, model = f"{remote}/serving", write_model(f"{remote}/model", "first")
    rename = tf.io.gfile.rename

    def rename_without_markers(source: str, target: str) -> None:
        rename(source, target)
        if not contents(f"{base}/.unfinished"):
            tf.io.gfile.rmtree(f"{base}/.unfinished")

    monkeypatch.setattr(tf.io.gfile, "rename", rename_without_markers)
    version = push(model, base)
    assert contents(version) == contents(model)
    assert names(base) == [str(NOW)]


def test_a_remote_model_is_pushed_to_a_local_folder(tmp_path: Path, remote: str) -> None:
    model = write_model(f"{remote}/model", "first")
    base = str(tmp_path / "serving")
    version = push(model, base)
    assert contents(version) == contents(model)
    assert push(model, base) == version
    assert names(base) == [str(NOW)]


def test_the_fingerprint_is_of_names_and_contents(tmp_path: Path) -> None:
    def written(folder: str, content: str) -> Path:
        return Path(write_model(str(tmp_path / folder), content))

    model = fingerprint(written("a", "first"))
    assert fingerprint(written("elsewhere/b", "first")) == model
    assert fingerprint(written("c", "second")) != model
    renamed = written("d", "first")
    (renamed / "assets" / "labels").rename(renamed / "assets" / "names")
    assert fingerprint(renamed) != model


@pytest.mark.parametrize("blessed", [True, False])
def test_the_node_pushes_what_is_blessed_and_nothing_else(
    base: str, run_node: Any, new_artifact: Any, new_remote_artifact: Any, blessed: bool
) -> None:
    remote = is_remote(base)
    new = new_remote_artifact if remote else new_artifact
    model = new(standard_artifacts.Model)
    write_model(path_utils.serving_model_dir(model.uri), "trained")
    blessing = new(standard_artifacts.ModelBlessing)
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_float_custom_property("accuracy", 0.75)
    outputs = run_node(
        "Pusher", {"model": model, "model_blessing": blessing}, serving_root=base, remote=remote
    )
    pushed = outputs["pushed_model"]
    assert pushed.get_int_custom_property("pushed") == int(blessed)
    assert tf.io.gfile.exists(base) == blessed
    if blessed:
        assert names(base) == [str(NOW)]
        with tf.io.gfile.GFile(f"{base}/{NOW}/assets.extra/test.json") as file:
            assert json.loads(file.read()) == {"accuracy": 0.75}
        assert pushed.get_string_custom_property("pushed_destination") == f"{base}/{NOW}"
        assert pushed.get_string_custom_property("pushed_version") == str(NOW)
