"""What the Evaluator found, as plain figures read from TFMA's files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow_model_analysis as tfma
from scipy.stats import binom
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import eval_config_writer

from components.evaluation.gate import ROUNDING
from components.evaluation.metrics import ACCURACY, LOSS, SkillOverMajority
from data.contract import features

FLOOR, NO_DROP = "accuracy floor", "no drop from the last pushed model"

LUCK = 0.001
"""The probability from which the report warns that guessing passes."""


@dataclass(frozen=True)
class Condition:
    """One condition of the gate, in accuracy on the test photos."""

    name: str
    required: float | None
    """The least accuracy that passes; None where there is nothing to compare with."""
    measured: float
    remark: str = ""
    """Why the verdict is worth little, where it is; empty otherwise."""

    @property
    def passed(self) -> bool:
        """Whether the model meets it."""
        return self.required is None or self.measured >= self.required - ROUNDING


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on the test photos."""

    photos: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy."""
    majority: float
    """Accuracy of always naming the most frequent class."""
    loss: float
    recall: dict[str, float]
    confusion: list[list[int]]
    """Photos by actual (row) and predicted (column) class id."""
    conditions: list[Condition]
    blessed: bool


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Args:
        share: the observed share, in [0, 1].
        n: observations, at least 1.

    Returns:
        The lower and the upper bound, in [0, 1].
    """
    z = 1.959964
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (centre - spread) / scale, (centre + spread) / scale


def read_evaluation(uri: str, classes: Sequence[str]) -> Evaluation:
    """Reads an Evaluator's output.

    Args:
        uri: the ModelEvaluation artifact.
        classes: class names in the order of their ids.
    """
    config, _, _, models = eval_config_writer.load_eval_run(uri)
    candidate = tfma.CANDIDATE_KEY if len(models) > 1 else ""
    result = tfma.load_eval_result(uri, model_name=candidate)
    metrics = {key: _values(values) for key, values in result.slicing_metrics}
    overall = metrics[()]
    (plots,) = (values for key, values in result.plots if key == ())
    confusion = _confusion(plots, len(classes))
    photos = int(overall["example_count"])
    majority = max(sum(row) for row in confusion) / photos
    baseline = None
    if len(models) > 1:
        baseline = tfma.load_eval_result(uri, model_name=tfma.BASELINE_KEY)
    return Evaluation(
        photos=photos,
        accuracy=overall[ACCURACY],
        interval=wilson_interval(overall[ACCURACY], photos),
        majority=majority,
        loss=overall[LOSS],
        recall={name: metrics[((features.LABEL, name),)][ACCURACY] for name in classes},
        confusion=confusion,
        conditions=_conditions(
            config,
            confusion,
            overall[ACCURACY],
            _values(dict(baseline.slicing_metrics)[()])[ACCURACY] if baseline else None,
        ),
        blessed=tfma.load_validation_result(uri).validation_ok,
    )


def _values(outputs: dict[str, Any]) -> dict[str, float]:
    """TFMA nests metrics by output and sub key; here there is one of each."""
    return {
        name: value["doubleValue"]
        for name, value in outputs[""][""].items()
        if "doubleValue" in value
    }


def _confusion(plots: dict[str, Any], classes: int) -> list[list[int]]:
    (matrix,) = plots[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"]
    confusion = [[0] * classes for _ in range(classes)]
    for entry in matrix["entries"]:  # protobuf leaves out an id of 0
        row, column = entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
        confusion[row][column] = round(entry["numWeightedExamples"])
    return confusion


def _conditions(
    config: config_pb2.EvalConfig,
    confusion: list[list[int]],
    accuracy: float,
    baseline: float | None,
) -> list[Condition]:
    """The thresholds of the configuration, each as the accuracy it asks for."""
    photos = sum(map(sum, confusion))
    majority = max(map(sum, confusion)) / photos
    conditions = []
    for metric in config.metrics_specs[0].metrics:
        for threshold in (each.threshold for each in metric.per_slice_thresholds):
            if threshold.HasField("value_threshold"):
                floor = threshold.value_threshold.lower_bound.value + ROUNDING
                if metric.class_name == SkillOverMajority.__name__:
                    floor = majority + floor * (1 - majority)
                luck = chance_to_pass(floor, classes=len(confusion), photos=photos)
                remark = f"guessing passes in {luck:.1%} of cases" if luck >= LUCK else ""
                conditions.append(Condition(FLOOR, floor, accuracy, remark))
            if threshold.HasField("change_threshold") and baseline is not None:
                drop = -threshold.change_threshold.absolute.value - ROUNDING
                remark = ""
                if 1 / photos > drop:
                    remark = f"one photo is {1 / photos:.3f}, more than the {drop:.3f} allowed"
                conditions.append(Condition(NO_DROP, baseline - drop, accuracy, remark))
    if baseline is None:  # TFMA has left out the threshold
        conditions.append(Condition(NO_DROP, None, accuracy, "this pipeline has pushed none"))
    return conditions


def chance_to_pass(floor: float, *, classes: int, photos: int) -> float:
    """How likely guessing at random reaches an accuracy: the upper tail of a binomial.

    Args:
        floor: the accuracy, in [0, 1].
        classes: how many there are to guess from.
        photos: how many are guessed.

    Returns:
        The probability, in [0, 1].
    """
    needed = math.ceil((floor - ROUNDING) * photos)
    return float(binom.sf(needed - 1, photos, 1 / classes))
