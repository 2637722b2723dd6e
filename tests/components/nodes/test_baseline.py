from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.nodes.baseline import LatestPushedModel
from components.nodes.evaluator import NO_BASELINE
from components.staging import is_remote
from data.contract.model import push_destination

Artifact = Any


@pytest.fixture(params=["local", "remote"])
def base(request: pytest.FixtureRequest, tmp_path: Path, remote: str) -> str:
    """The folder of versions."""
    place = remote if request.param == "remote" else str(tmp_path)
    return f"{place}/serving/dog_emotion"


def write_model(folder: str, content: str, *, complete: bool = True) -> None:
    """The files of a SavedModel."""
    for name in ("variables/variables.index", *(["saved_model.pb"] if complete else [])):
        file = f"{folder}/{name}"
        tf.io.gfile.makedirs(file.rpartition("/")[0])
        with tf.io.gfile.GFile(file, "w") as stream:
            stream.write(content)


@pytest.fixture
def latest(base: str, new_artifact: Any, new_remote_artifact: Any) -> Any:
    """Runs LatestPushedModel, with its artifact where the versions are; returns that."""

    def run() -> Artifact:
        new = new_remote_artifact if is_remote(base) else new_artifact
        model = new(standard_artifacts.Model)
        LatestPushedModel.EXECUTOR_SPEC.executor_class().Do(
            {}, {"model": [model]}, {"push_destination": push_destination(base)}
        )
        return model

    return run


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


def test_what_is_no_complete_version_is_passed_over(base: str, latest: Any) -> None:
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
