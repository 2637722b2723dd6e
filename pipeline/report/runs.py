"""A run read back from its folder, with all that it can be compared by."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.evaluation.figures import Evaluation, read_evaluation
from components.evaluation.table import Predictions, read_table
from components.report.description import DESCRIPTION
from data import span_photos
from data.contract.errors import UserError
from data.contract.features import TEST
from data.contract.nodes import EVALUATOR, IMPORT_EXAMPLE_GEN, PUSHER, REPORT
from data.errors import DataError
from pipeline.outputs import (
    PIPELINE_RUN,
    Outputs,
    newest_run,
    open_store,
    pushed_version,
    read_outputs,
    run_that_pushed,
)
from pipeline.workdir import Workdir


@dataclass(frozen=True)
class Photo:
    """Where a photo was in a run's records."""

    split: str
    label: str


@dataclass(frozen=True)
class Run:
    """One run that has measured a model."""

    name: str
    """As the user called it."""
    classes: tuple[str, ...]
    evaluation: Evaluation
    predictions: Predictions
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    code: Mapping[str, str]
    """A hash of the code of each node that has one."""
    span: int
    manifest_sha256: str
    photos: Mapping[tuple[str, int], Photo] | None
    """By the SHA-256 of their files and a number, from 0, that tells equal files apart; None if the
    records are gone."""
    test_records: tuple[str, ...]
    """The files that hold the test photos."""
    pushed: str
    """The version; empty if the gate blocked the model."""


def read_run(path: Path) -> Run:
    """Reads a run.

    Args:
        path: the folder of a run, of which the newest is read, or a version that one has pushed.

    Raises:
        UserError: it is neither, or what the run has left is not whole.
    """
    workdir, version = _find(path)
    store = open_store(workdir.metadata)
    if not store.get_contexts_by_type(PIPELINE_RUN):
        raise UserError(f"{path}: no run has begun there; run one first")
    context = newest_run(store) if version is None else run_that_pushed(store, version)
    if context is None:
        raise UserError(f"{path}: no run in that folder is known to have pushed it; name another")
    outputs = read_outputs(store, context)
    for needed in ((EVALUATOR, "evaluation"), (REPORT, "report"), (PUSHER, "pushed_model")):
        if needed not in outputs.artifacts:
            raise UserError(f"{path}: that run has not come to its {needed[0]}: run it again")
    return _read(str(path), workdir, outputs, context)


def _find(path: Path) -> tuple[Workdir, str | None]:
    """The folder of the run, and the version that is meant; None is whatever came out last."""
    absolute = path.absolute()
    if Workdir(absolute).metadata.is_file():
        return Workdir(absolute), None
    above = absolute.parents[2] if len(absolute.parents) > 2 else absolute
    if absolute.name.isdecimal() and absolute.is_dir() and Workdir(above).metadata.is_file():
        return Workdir(above), absolute.name
    raise UserError(
        f"{path} is no folder of a run, nor a version that one has pushed: name a --workdir of "
        "`run`, or WORKDIR/serving/dog_emotion/VERSION"
    )


def _read(name: str, workdir: Workdir, outputs: Outputs, context: mlmd.Context) -> Run:
    description = read_description(outputs)
    classes = description["settings"]["classes"]
    evaluation = outputs.uri(EVALUATOR, "evaluation")
    span = context.custom_properties["span"].int_value
    records = outputs.uri(IMPORT_EXAMPLE_GEN, "examples") / f"Split-{TEST}"
    return Run(
        name=name,
        classes=tuple(classes),
        evaluation=read_evaluation(str(evaluation)),
        predictions=read_table(evaluation, classes),
        settings=description["settings"],
        versions=description["versions"],
        code=outputs.code,
        span=span,
        manifest_sha256=context.custom_properties["manifest_sha256"].string_value,
        photos=read_photos(workdir.data / f"span-{span}"),
        test_records=tuple(sorted(map(str, records.glob("*")))),
        pushed=pushed_version(outputs.artifacts[PUSHER, "pushed_model"]) or "",
    )


def read_description(outputs: Outputs) -> dict[str, Any]:
    """The `settings` and `versions` of a run that has come to its report.

    Raises:
        UserError: the file is missing or damaged.
    """
    file = outputs.uri(REPORT, "report") / DESCRIPTION
    try:
        description: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is missing or damaged: delete its folder and run again") from error
    return description


def read_photos(span: Path) -> dict[tuple[str, int], Photo] | None:
    """The photos of a span, as a `Run` has them; None if the span is gone."""
    try:
        rows = list(span_photos.read_table(span))
    except DataError:
        return None
    found: dict[tuple[str, int], Photo] = {}
    seen: Counter[str] = Counter()
    for _, label, split, _, _, sha256 in rows:
        found[sha256, seen[sha256]] = Photo(split, label)
        seen[sha256] += 1
    return found
