from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.classifier import build_classifier
from components.dataset import labelled_images
from components.evaluation import SKILL_FLOOR
from components.export import export
from components.report import Condition, Evaluation, read_evaluation, wilson_interval
from components.settings import GateSettings
from data.ingest import IngestResult
from pipeline.config import Config

FLOOR, NO_DROP = "accuracy floor", "no drop from the last blessed model"


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [
        # R's binom.confint(x, n, methods = "wilson"), package binom.
        (0.0, 10, 0.0, 0.2775328),
        (0.5, 10, 0.2365931, 0.7634069),
        (1.0, 10, 0.7224672, 1.0),
        (0.5, 612, 0.4605093, 0.5394907),
    ],
)
def test_the_interval_is_wilsons(share: float, n: int, low: float, high: float) -> None:
    assert wilson_interval(share, n) == pytest.approx((low, high), abs=1e-6)


def test_a_condition_is_met_at_its_very_bound() -> None:
    assert Condition(FLOOR, 0.5, 0.5).passed
    assert not Condition(FLOOR, 0.5, 0.49).passed


@dataclass(frozen=True)
class Trained:
    """An exported model and what it says of the test photos."""

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
    config: Config, transform: Any, split_files: dict[str, str], new_artifact: Any
) -> dict[str, Trained]:
    """One that knows most of the test photos, and one that guesses."""
    ((images, ids),) = labelled_images(split_files["test"], transform, batch_size=99)
    labels = ids.numpy()
    keras.utils.set_random_seed(0)
    model, backbone, _ = build_classifier(config.model, len(config.classes))
    features = backbone(images, training=False).numpy().mean(axis=(1, 2))
    head = model.get_layer("probabilities")
    found = {}
    # All but every fourth photo are learnt by heart: least squares to one-hot labels.
    learnt = np.arange(len(labels)) % 4 > 0
    kernel, *_ = np.linalg.lstsq(features[learnt], np.eye(4)[labels[learnt]] * 4, rcond=None)
    for name, weights in {"guessing": head.get_weights(), "knowing": [kernel, np.zeros(4)]}.items():
        head.set_weights(weights)
        artifact = new_artifact(standard_artifacts.Model)
        folder = Path(path_utils.serving_model_dir(artifact.uri))
        export(model, transform, config.classes, folder)
        found[name] = Trained(artifact, model(images, training=False).numpy(), labels)
    return found


@pytest.fixture(scope="module")
def evaluate(
    config: Config, run_node: Any, examples: Any, models: dict[str, Trained]
) -> Callable[..., tuple[Evaluation, bool]]:
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


def test_figures(evaluate, models) -> None:
    k, g = models["knowing"], models["guessing"]
    print(k.accuracy, g.accuracy, k.labels, k.predicted, g.predicted)
    e = evaluate("knowing", GateSettings())
    print(e)
    e = evaluate("guessing", GateSettings(accuracy_floor=0.0, accuracy_drop=0.5), "knowing")
    print(e)
