from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.evaluation.gate import SKILL_FLOOR
from components.evaluation.report import (
    FLOOR,
    NO_DROP,
    Evaluation,
    chance_to_pass,
    read_evaluation,
    wilson_interval,
)
from components.evaluation.settings import GateSettings
from components.model.classifier import build_classifier
from components.training.photo_batches import labelled_images
from data.ingest import IngestResult
from pipeline.config import Config

Evaluate = Callable[..., tuple[Evaluation, bool]]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Table I, method 3 of Newcombe 1998, Statistics in Medicine 17(8), 857-872.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes / n, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(1 - successes / n, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@dataclass(frozen=True)
class Trained:
    """An exported model and what it says about the test photos."""

    artifact: Any
    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.predicted == self.labels))


@pytest.fixture(scope="module")
def models(
    config: Config,
    transform: Any,
    export_plainly: Any,
    split_files: dict[str, str],
    new_artifact: Any,
) -> dict[str, Trained]:
    """One that knows most of the test photos, and one that always guesses the first class."""
    ((images, ids),) = labelled_images(split_files["test"], transform, batch_size=99)
    labels = ids.numpy()
    classifier = build_classifier(config.model, len(config.classes))
    model = classifier.model
    features = classifier.backbone(images, training=False).numpy().mean(axis=(1, 2))
    head = classifier.head.get_layer("probabilities")
    found = {}
    # All but every fourth photo are learnt by heart: least squares to one-hot labels.
    learnt = np.arange(len(labels)) % 4 > 0
    kernel, *_ = np.linalg.lstsq(features[learnt], np.eye(4)[labels[learnt]] * 4, rcond=None)
    heads = {"knowing": [kernel, np.zeros(4)], "guessing": [0 * kernel, np.array([1, 0, 0, 0])]}
    for name, weights in heads.items():
        head.set_weights(weights)
        artifact = new_artifact(standard_artifacts.Model)
        folder = Path(path_utils.serving_model_dir(artifact.uri))
        export_plainly(classifier, folder)
        found[name] = Trained(artifact, model(images, training=False).numpy(), labels)
    return found


@pytest.fixture(scope="module")
def evaluate(config: Config, run_node: Any, examples: Any, models: dict[str, Trained]) -> Evaluate:
    """The Evaluator's figures of a model behind a gate, and whether it blessed the model."""

    def run(name: str, gate: GateSettings, baseline: str | None = None) -> tuple[Evaluation, bool]:
        inputs = {"examples": examples, "model": models[name].artifact}
        if baseline is not None:
            inputs["baseline_model"] = models[baseline].artifact
        gated = config.model_copy(update={"gate": gate})
        outputs = run_node("Evaluator", inputs, config=gated)
        blessing = outputs["blessing"]
        return (
            read_evaluation(outputs["evaluation"].uri, config.classes),
            bool(blessing.get_int_custom_property("blessed")),
        )

    return run


def test_the_figures_are_those_of_the_models_answers(
    evaluate: Evaluate, models: dict[str, Trained], config: Config, ingested: IngestResult
) -> None:
    model = models["knowing"]
    assert 0.5 < model.accuracy < 1
    evaluation, blessed = evaluate("knowing", GateSettings())
    confusion = np.zeros((4, 4), int)
    np.add.at(confusion, (model.labels, model.predicted), 1)
    assert evaluation.confusion == confusion.tolist()
    assert evaluation.photos == len(model.labels) == sum(ingested.counts["test"].values())
    assert evaluation.accuracy == pytest.approx(model.accuracy)
    assert evaluation.interval == pytest.approx(wilson_interval(model.accuracy, len(model.labels)))
    likelihood = model.probabilities[np.arange(len(model.labels)), model.labels]
    assert evaluation.loss == pytest.approx(float(-np.log(likelihood).mean()), rel=1e-4)
    right = np.diag(confusion) / confusion.sum(axis=1)
    assert evaluation.recall == pytest.approx(dict(zip(config.classes, right, strict=True)))
    majority = max(ingested.counts["test"].values()) / len(model.labels)
    assert evaluation.majority == pytest.approx(majority)
    floor, no_drop = evaluation.conditions
    assert (floor.name, no_drop.name) == (FLOOR, NO_DROP)
    assert (no_drop.required, no_drop.remark) == (None, "this pipeline has pushed none")
    assert floor.required == pytest.approx(majority + SKILL_FLOOR * (1 - majority), abs=1e-5)
    assert floor.measured == evaluation.accuracy
    assert floor.passed
    assert evaluation.blessed
    assert blessed


@pytest.mark.parametrize(
    ("name", "gate", "baseline", "verdict"),
    [
        ("guessing", lambda _, __: GateSettings(), None, {FLOOR: False}),
        ("knowing", lambda best, _: GateSettings(accuracy_floor=best), None, {FLOOR: True}),
        ("knowing", lambda best, _: GateSettings(accuracy_floor=best + 0.01), None, {FLOOR: False}),
        (
            "guessing",
            lambda _, __: GateSettings(accuracy_floor=0.1),
            "knowing",
            {FLOOR: True, NO_DROP: False},
        ),
        (
            "guessing",
            lambda best, worst: GateSettings(accuracy_floor=0.1, accuracy_drop=best - worst),
            "knowing",
            {FLOOR: True, NO_DROP: True},
        ),
        (
            "knowing",
            lambda _, __: GateSettings(accuracy_drop=0.0),
            "knowing",
            {FLOOR: True, NO_DROP: True},
        ),
    ],
)
def test_the_gate_blesses_what_meets_every_condition(
    evaluate: Evaluate,
    models: dict[str, Trained],
    name: str,
    gate: Callable[[float, float], GateSettings],
    baseline: str | None,
    verdict: dict[str, bool],
) -> None:
    settings = gate(models["knowing"].accuracy, models["guessing"].accuracy)
    evaluation, blessed = evaluate(name, settings, baseline)
    verdict = {NO_DROP: True, **verdict}
    assert {each.name: each.passed for each in evaluation.conditions} == verdict
    assert evaluation.blessed == blessed == all(verdict.values())
    assert evaluation.accuracy == pytest.approx(models[name].accuracy)
    if baseline is not None:
        (no_drop,) = (each for each in evaluation.conditions if each.name == NO_DROP)
        assert no_drop.remark == (
            "one photo is 0.056, more than the 0.000 allowed"
            if not settings.accuracy_drop
            else "one photo is 0.056, more than the 0.020 allowed"
            if settings.accuracy_drop == 0.02
            else ""
        )
        required = models[baseline].accuracy - settings.accuracy_drop
        assert no_drop.required == pytest.approx(required, abs=1e-5)


@pytest.mark.parametrize("floor", [0.0, 0.7])
def test_a_floor_is_reported_as_it_was_set(evaluate: Evaluate, floor: float) -> None:
    evaluation, _ = evaluate("guessing", GateSettings(accuracy_floor=floor))
    assert f"{evaluation.conditions[0].required:.3f}" == f"{floor:.3f}"


def test_a_floor_that_guessing_passes_is_reported(evaluate: Evaluate) -> None:
    evaluation, blessed = evaluate("guessing", GateSettings(accuracy_floor=0.1))
    assert blessed
    # 18 photos, 2 of them right: 1 - 0.75**18 - 18 * 0.25 * 0.75**17
    assert evaluation.conditions[0].remark == "guessing passes in 96.1 % of cases".replace(
        " %", "%"
    )
    strict, _ = evaluate("knowing", GateSettings(accuracy_floor=0.7))
    assert strict.conditions[0].remark == ""


@pytest.mark.parametrize(
    ("floor", "classes", "photos", "chance"),
    [
        (0.0, 4, 10, 1.0),
        (0.5, 2, 1, 0.5),
        (0.575, 2, 6, 22 / 64),  # 4, 5 or 6 right of 6
        (1.0, 4, 3, 1 / 64),
        (0.7, 2, 10, 176 / 1024),  # 7 of 10 are enough, whatever a float makes of 0.7
    ],
)
def test_the_chance_of_guessing_is_the_tail_of_a_binomial(
    floor: float, classes: int, photos: int, chance: float
) -> None:
    assert chance_to_pass(floor, classes=classes, photos=photos) == pytest.approx(chance)
