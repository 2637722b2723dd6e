from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.nodes.baseline import (
    BestPushedModel,
    BestPushedStrategy,
    LastPushedStrategy,
    LatestPushedModel,
)
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


class History:
    """A metadata store in which models are evaluated and pushed."""

    def __init__(self) -> None:
        config = mlmd.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = MetadataStore(config)
        self.found: dict[str, list[Artifact]] = {"model": [], "pushed_model": [], "evaluation": []}

    def model(self) -> Artifact:
        return self._put("model", standard_artifacts.Model())

    def evaluated(self, model: Artifact, accuracy: float) -> None:
        evaluation = standard_artifacts.ModelEvaluation()
        evaluation.set_float_custom_property("accuracy", accuracy)
        self._made_of(model, self._put("evaluation", evaluation))

    def removed(self, model: Artifact) -> None:
        """As TFX then gives it to no strategy any more."""
        self.found["model"].remove(model)

    def pushed(self, model: Artifact, *, pushed: bool = True) -> None:
        artifact = standard_artifacts.PushedModel()
        artifact.set_int_custom_property("pushed", int(pushed))
        self._made_of(model, self._put("pushed_model", artifact))

    def resolved(self, strategy: type[Any], key: str = "model") -> list[int]:
        """The ids of the models, or of what else, that a strategy finds."""
        found = strategy().resolve_artifacts(self.store, self.found)
        assert found.keys() <= self.found.keys()
        return [each.id for each in found[key]]

    def _put(self, key: str, artifact: Artifact) -> Artifact:
        kind = self.store.put_artifact_type(artifact.artifact_type)
        artifact.mlmd_artifact.type_id = kind
        (artifact.mlmd_artifact.id,) = self.store.put_artifacts([artifact.mlmd_artifact])
        self.found[key].append(artifact)
        return artifact

    def _made_of(self, model: Artifact, made: Artifact) -> None:
        kind = self.store.put_execution_type(mlmd.ExecutionType(name="node"))
        (execution,) = self.store.put_executions([mlmd.Execution(type_id=kind)])
        for artifact, key, way in (
            (model, "model", mlmd.Event.INPUT),
            (made, "made", mlmd.Event.OUTPUT),
        ):
            event = mlmd.Event(artifact_id=artifact.id, execution_id=execution, type=way)
            event.path.steps.add(key=key)
            event.path.steps.add(index=0)
            self.store.put_events([event])


def test_nothing_was_pushed() -> None:
    history = History()
    model = history.model()
    history.evaluated(model, 0.5)
    history.pushed(model, pushed=False)
    assert history.resolved(LastPushedStrategy) == []
    assert history.resolved(BestPushedStrategy) == []


def test_the_models_pushed_before_the_last_come_with_the_most_accurate_first() -> None:
    history = History()
    accuracies = (0.4, 0.6, None, 0.5, 0.9, 0.7)
    models = [history.model() for _ in accuracies]
    for model, accuracy in zip(models, accuracies, strict=True):
        if accuracy is not None:  # as earlier versions of this code did not say it
            history.evaluated(model, accuracy)
        history.pushed(model, pushed=accuracy != 0.9)
    first, second, unknown, fourth, _, last = (model.id for model in models)
    assert history.resolved(LastPushedStrategy) == [last]
    assert history.resolved(BestPushedStrategy) == [second, fourth, first, unknown]
    # On other test photos, the newest figure counts.
    history.evaluated(models[0], 0.65)
    assert history.resolved(BestPushedStrategy) == [first, second, fourth, unknown]
    # A model that is pushed again is the last one.
    history.pushed(models[1])
    assert history.resolved(LastPushedStrategy) == [second]
    assert history.resolved(BestPushedStrategy) == [last, first, fourth, unknown]


def test_of_how_many_models_one_is_the_best_is_known_though_some_were_removed() -> None:
    history = History()
    models = [history.model() for _ in range(4)]
    for model, accuracy in zip(models, (0.4, 0.6, 0.5, 0.7), strict=True):
        history.evaluated(model, accuracy)
        history.pushed(model)
    before = history.resolved(BestPushedStrategy, "pushed_model")
    assert len(before) == 3
    history.removed(models[0])
    assert history.resolved(BestPushedStrategy) == [models[1].id, models[2].id]
    assert history.resolved(BestPushedStrategy, "pushed_model") == before
    # The last one once more, and one before it that is no other then.
    history.pushed(models[3])
    assert history.resolved(BestPushedStrategy, "pushed_model") == before
    history.pushed(models[2])
    assert len(history.resolved(BestPushedStrategy, "pushed_model")) == 3
