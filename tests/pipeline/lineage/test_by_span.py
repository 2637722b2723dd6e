from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.contract.nodes import TRAINER
from pipeline.lineage.by_span import NOT_PUSHED, accuracy_by_span
from tests.components.report.conftest import write_evaluation
from tests.pipeline.lineage.stores import Recorder, memory_store

LAST = 0.5
"""What `write_evaluation` says of the model that was pushed last."""


@pytest.fixture
def store() -> MetadataStore:
    return memory_store()


def add_run(
    recorder: Recorder, tmp_path: Path, span: int, version: str, before: mlmd.Artifact | None
) -> tuple[mlmd.Artifact, float]:
    """A run that pushes a model, unless the version is empty; the model and its accuracy."""
    run = recorder.begin(f"run-{span}-{version}", span=span)
    model = recorder.artifact("Model")
    recorder.run(run, TRAINER, model)
    folder = tmp_path / run.name
    made = write_evaluation(folder, ("happy", "sad"), photos=50 + span, last=before is not None)
    read = {"model": model} | ({"baseline_model": before} if before else {})
    recorder.measure(run, made.accuracy, uri=str(folder), read=read)
    recorder.push(run, tmp_path / version if version else None, model)
    return model, made.accuracy


def test_each_version_on_each_span_it_was_asked_about(store: MetadataStore, tmp_path: Path) -> None:
    recorder = Recorder(store)
    first, on_first = add_run(recorder, tmp_path, 1, "17", None)
    _, on_second = add_run(recorder, tmp_path, 2, "", first)  # it was blocked
    assert accuracy_by_span(store) == {"17": {1: on_first, 2: LAST}, NOT_PUSHED: {2: on_second}}
    _, on_third = add_run(recorder, tmp_path, 3, "18", first)
    assert accuracy_by_span(store) == {"17": {1: on_first, 2: LAST, 3: LAST}, "18": {3: on_third}}


def test_evaluations_that_are_gone_and_stores_without_any_tell_nothing(
    store: MetadataStore, tmp_path: Path
) -> None:
    assert accuracy_by_span(store) == {}
    recorder = Recorder(store)
    add_run(recorder, tmp_path, 1, "17", None)
    (tmp_path / "run-1-17" / "verdict.json").unlink()
    assert accuracy_by_span(store) == {}
