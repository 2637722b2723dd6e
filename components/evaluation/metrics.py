"""What TFMA measures, and the one metric that it lacks."""

from collections.abc import Mapping

from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import (
    MatrixEntryKey,
    multi_class_confusion_matrices,
)
from tensorflow_model_analysis.proto import config_pb2

ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"
SKILL = "skill_over_majority"


def skill_over_majority(matrix: Mapping[MatrixEntryKey, float]) -> float:
    """How far a classifier gets from always naming the majority class to being always right.

    It is the skill score of forecasting, (accuracy - m) / (1 - m) with m the majority share
    (https://en.wikipedia.org/wiki/Forecast_skill): 0 is the majority class, 1 is perfect.
    Unlike a fixed accuracy, it can be required before the photos are known.

    Args:
        matrix: photos by actual and predicted class id.

    Returns:
        The skill, at most 1; NaN where only one class is present and m is 1.
    """
    photos = sum(matrix.values())
    actual: dict[int, float] = {}
    for entry, count in matrix.items():
        actual[entry.actual_class_id] = actual.get(entry.actual_class_id, 0.0) + count
    correct = sum(
        count
        for entry, count in matrix.items()
        if entry.actual_class_id == entry.predicted_class_id
    )
    majority = max(actual.values())
    return float("nan") if majority == photos else (correct - majority) / (photos - majority)


class SkillOverMajority(metric_types.Metric):
    """`skill_over_majority` as a TFMA metric."""

    def __init__(self, name: str = SKILL) -> None:
        super().__init__(metric_util.merge_per_key_computations(_skill_computations), name=name)


def _skill_computations(
    name: str = SKILL,
    eval_config: config_pb2.EvalConfig | None = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    key = metric_types.MetricKey(
        name=name,
        model_name=model_name,
        output_name=output_name,
        example_weighted=example_weighted,
    )
    matrices = multi_class_confusion_matrices(
        thresholds=[0.0],
        eval_config=eval_config,
        model_name=model_name,
        output_name=output_name,
        example_weighted=example_weighted,
    )
    matrices_key = matrices[-1].keys[-1]

    def result(
        metrics: dict[metric_types.MetricKey, Mapping[float, Mapping[MatrixEntryKey, float]]],
    ) -> dict[metric_types.MetricKey, float]:
        (matrix,) = metrics[matrices_key].values()
        return {key: skill_over_majority(matrix)}

    return [*matrices, metric_types.DerivedMetricComputation(keys=[key], result=result)]


metric_types.register_metric(SkillOverMajority)
