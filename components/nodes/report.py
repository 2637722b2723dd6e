"""The Report node: what the run has measured, on one page."""

import importlib.metadata
import json
import platform
from contextlib import ExitStack

import numpy as np
from tfx import types
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from components.evaluation.figures import read_evaluation
from components.evaluation.table import Predictions, read_table
from components.model.settings import ModelSettings
from components.nodes.readings import count_labels, split_files
from components.report.cached_features import features_as_cached, training_features
from components.report.description import DESCRIPTION
from components.report.neighbours import Neighbour, nearest
from components.report.page import PAGE, Facts, make_page
from components.report.records import find_photos
from components.report.shown import (
    NEIGHBOURS,
    Shown,
    show,
    surest_mistakes,
    surest_right,
)
from components.staging import readable, writable
from components.training.cache.format import folder_of
from components.training.history import HISTORY, SUMMARY, read_history
from components.training.hyperparameters import lay_over
from data.contract import features

_LIBRARIES = (
    "dog-emotion",
    "tfx",
    "tensorflow",
    "keras",
    "tensorflow-model-analysis",
    "tensorflow-transform",
    "apache-beam",
    "numpy",
    "opencv-python-headless",
)
_NOT_CACHED = "training.augmentation.mode is on_the_fly, and no features were kept"


@component
def Report(  # noqa: N802 (a TFX component is named like a class)
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    report: OutputArtifact[standard_artifacts.ModelRun],
    settings: Parameter[str],
    look: Parameter[str],
    code: Parameter[str],
    activations: InputArtifact[standard_artifacts.Examples] = None,
) -> None:
    """Writes the report.

    Args:
        evaluation: the Evaluator's figures and verdict.
        model_run: what Trainer leaves of a training.
        examples: the photos.
        statistics: what was counted in them.
        report: receives the page, and the settings and versions beside it.
        settings: the configuration, as JSON.
        look: a hash of the templates, for the cache.
        code: a hash of the code that makes the page, for the cache.
        activations: what ActivationCache made of the training photos, if it did.
    """
    configuration = json.loads(settings)
    classes = configuration["classes"]
    with ExitStack() as stack:
        folder = stack.enter_context(readable(evaluation.uri))
        judged = read_evaluation(str(folder))
        predictions = read_table(folder, classes)
        run = stack.enter_context(readable(model_run.uri))
        training = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
        history = read_history(run / HISTORY)
    configuration = lay_over(configuration, training.get("tuned", {}))
    versions = _versions()
    backbones = ModelSettings.model_validate_json(json.dumps(configuration["model"])).backbones
    mistakes, right = _shown(
        predictions,
        examples,
        # An ensemble's first member speaks for all.
        folder_of(activations.uri, backbones[0], backbones) if activations else None,
    )
    facts = Facts(
        classes=tuple(classes),
        counts={split: count_labels(statistics, split) for split in features.SPLITS},
        evaluation=judged,
        predictions=predictions,
        history=history,
        training=training,
        settings=configuration,
        versions=versions,
        mistakes=mistakes,
        right=right,
        no_neighbours="" if activations else _NOT_CACHED,
    )
    description = {"settings": configuration, "versions": versions}
    with writable(report.uri) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).write_text(make_page(facts), encoding="utf-8")
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2), encoding="utf-8")


def _shown(
    predictions: Predictions, examples: types.Artifact, activations: str | None
) -> tuple[list[Shown], list[Shown]]:
    """The mistakes and the right answers on the page."""
    mistakes, right = surest_mistakes(predictions), surest_right(predictions)
    places = [*mistakes, *right]
    photos = find_photos(
        split_files(examples, features.TEST), {predictions.photos[place] for place in places}
    )
    known = [place for place in mistakes if predictions.photos[place] in photos]
    alike: dict[int, tuple[list[Neighbour], list[Neighbour]]] = {}
    if activations and known:
        jpegs = [photos[predictions.photos[place]].jpeg for place in known]
        of_class = [int(predictions.predicted[place]) for place in known]
        found = _neighbours(activations, jpegs, of_class)
        alike = dict(zip(known, found, strict=True))
        wanted = {each.sha256 for pair in found for side in pair for each in side}
        photos |= find_photos(split_files(examples, features.TRAIN), wanted)
    return (
        [
            show(predictions, place, photos, of_predicted=same, of_any=anyone)
            for place in mistakes
            for same, anyone in [alike.get(place, ([], []))]
        ],
        [show(predictions, place, photos) for place in right],
    )


def _neighbours(
    activations: str, jpegs: list[bytes], of_class: list[int]
) -> list[tuple[list[Neighbour], list[Neighbour]]]:
    """The training photos most like each photo: of one class, and of any."""
    found = features_as_cached(activations, jpegs)
    neighbours = nearest(
        np.concatenate([found, found]),
        training_features(activations),
        number=NEIGHBOURS,
        of_class=[*of_class, *[None] * len(jpegs)],
    )
    return list(zip(neighbours[: len(jpegs)], neighbours[len(jpegs) :], strict=True))


def _versions() -> dict[str, str]:
    """Of what made the model, as installed where the report is made."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"Python": platform.python_version(), **found}
