from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.nodes.baseline import BestPushedModel, LatestPushedModel
from components.nodes.evaluator import NO_BASELINE, OTHERS
from components.staging import is_remote
from data.contract.model import TEST_FIGURES, push_destination

Artifact = Any


@pytest.fixture(params=["local", "remote"])
def base(request: pytest.FixtureRequest, tmp_path: Path, remote: str) -> str:
    """The folder of versions."""
    place = remote if request.param == "remote" else str(tmp_path)
    return f"{place}/serving/dog_emotion"


def write_model(folder: str, content: str, *, complete: bool = True) -> None:
    """Writes the files of a SavedModel."""
    for name in ("variables/variables.index", *(["saved_model.pb"] if complete else [])):
        file = f"{folder}/{name}"
        tf.io.gfile.makedirs(file.rpartition("/")[0])
        with tf.io.gfile.GFile(file, "w") as stream:
            stream.write(content)


@pytest.fixture
def found(base: str, new_artifact: Any, new_remote_artifact: Any) -> Any:
    """Runs a node, with its artifact where the versions are; returns the artifact."""

    def run(node: Any) -> Artifact:
        new = new_remote_artifact if is_remote(base) else new_artifact
        model = new(standard_artifacts.Model)
        node.EXECUTOR_SPEC.executor_class().Do(
            {}, {"model": [model]}, {"push_destination": push_destination(base)}
        )
        return model

    return run


@pytest.fixture
def latest(found: Any) -> Any:
    return lambda: found(LatestPushedModel)


def contents(folder: str) -> dict[str, str]:
    found = {}
    for parent, _, files in tf.io.gfile.walk(folder):
        for file in files:
            with tf.io.gfile.GFile(f"{parent}/{file}") as stream:
                found[f"{parent}/{file}".removeprefix(folder).lstrip("/")] = stream.read()
    return found


def test_the_newest_version_is_copied_whole(base: str, latest: Any) -> None:
    for number in (9, 100, 20):
        write_model(f"{base}/{number}", f"version {number}")
    model = latest()
    assert contents(path_utils.serving_model_dir(model.uri)) == {
        "saved_model.pb": "version 100",
        "variables/variables.index": "version 100",
    }
    assert set(tf.io.gfile.listdir(base)) == {"9", "20", "100"}


def test_what_is_not_a_complete_version_is_passed_over(base: str, latest: Any) -> None:
    write_model(f"{base}/9", "complete")
    write_model(f"{base}/100", "half", complete=False)
    write_model(f"{base}/.unfinished", "being copied")
    model = latest()
    assert set(contents(path_utils.serving_model_dir(model.uri)).values()) == {"complete"}


@pytest.mark.parametrize("there", [False, True])
def test_before_the_first_push_the_model_says_that_there_is_none(
    base: str, latest: Any, there: bool
) -> None:
    if there:
        write_model(f"{base}/100", "half", complete=False)
    assert contents(latest().uri) == {NO_BASELINE: ""}


def write_accuracy(version: str, accuracy: float) -> None:
    """What Pusher leaves of a version's evaluation."""
    tf.io.gfile.makedirs(f"{version}/{TEST_FIGURES}".rpartition("/")[0])
    with tf.io.gfile.GFile(f"{version}/{TEST_FIGURES}", "w") as stream:
        stream.write(f'{{"accuracy": {accuracy}}}')


def test_the_best_of_the_versions_before_the_newest_is_copied(base: str, found: Any) -> None:
    for number, accuracy in ((7, None), (8, 0.4), (9, 0.6), (10, 0.5), (11, 0.9)):
        write_model(f"{base}/{number}", f"version {number}")
        if accuracy is not None:
            write_accuracy(f"{base}/{number}", accuracy)
    model = found(BestPushedModel)
    copied = contents(path_utils.serving_model_dir(model.uri))
    assert copied["saved_model.pb"] == "version 9"
    assert model.get_int_custom_property(OTHERS) == 4


def test_of_versions_whose_accuracy_nobody_knows_the_newest_but_one_is_the_best(
    base: str, found: Any
) -> None:
    for number in (8, 9, 10):
        write_model(f"{base}/{number}", f"version {number}")
    copied = contents(path_utils.serving_model_dir(found(BestPushedModel).uri))
    assert copied["saved_model.pb"] == "version 9"


@pytest.mark.parametrize("pushed", [0, 1])
def test_before_the_second_push_there_is_no_other_version(
    base: str, found: Any, pushed: int
) -> None:
    for number in range(pushed):
        write_model(f"{base}/{9 + number}", "model")
    assert contents(found(BestPushedModel).uri) == {NO_BASELINE: ""}
