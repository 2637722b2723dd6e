import math

import pytest
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import MatrixEntryKey

from components.evaluation.gate import SKILL_FLOOR, eval_config
from components.evaluation.metrics import skill_over_majority
from components.evaluation.settings import GateSettings


def matrix(*rows: tuple[int, ...]) -> dict[MatrixEntryKey, float]:
    """Photos by actual (row) and predicted (column) class; as TFMA has it, without the zeros."""
    return {
        MatrixEntryKey(actual, predicted): float(count)
        for actual, row in enumerate(rows)
        for predicted, count in enumerate(row)
        if count
    }


@pytest.mark.parametrize(
    ("confusion", "skill"),
    [
        (matrix((5, 0), (0, 5)), 1.0),
        (matrix((0, 5), (5, 0)), -1.0),
        (matrix((8, 0), (2, 0)), 0.0),  # always the majority
        (matrix((7, 1), (1, 1)), 0.0),
        (matrix((0, 8), (0, 2)), -3.0),  # always the minority
        (matrix((6, 2), (0, 2)), 0.0),
        (matrix((8, 0), (1, 1)), 0.5),
        (matrix((2, 1, 1), (1, 2, 1), (1, 1, 2)), (6 - 4) / (12 - 4)),
    ],
)
def test_skill_is_the_way_from_the_majority_to_perfection(
    confusion: dict[MatrixEntryKey, float], skill: float
) -> None:
    assert skill_over_majority(confusion) == pytest.approx(skill)


def test_skill_does_not_exist_for_one_class() -> None:
    assert math.isnan(skill_over_majority(matrix((9, 1))))


def test_the_default_floor_is_036_for_four_even_classes() -> None:
    majority = 0.25
    assert majority + SKILL_FLOOR * (1 - majority) == pytest.approx(0.3625)


def test_thresholds_hold_over_all_photos_and_not_for_each_class() -> None:
    for gate in (GateSettings(), GateSettings(accuracy_floor=0.4)):
        metrics = eval_config(gate).metrics_specs[0].metrics
        thresholds = [each for metric in metrics for each in metric.per_slice_thresholds]
        assert thresholds
        assert all([*each.slicing_specs[0].feature_keys] == [] for each in thresholds)
        assert not any(metric.HasField("threshold") for metric in metrics)
