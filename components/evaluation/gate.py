"""What TFMA measures on the test photos, and the gate: the conditions of a blessing."""

from collections.abc import Mapping

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import (
    MatrixEntryKey,
    multi_class_confusion_matrices,
)
from tensorflow_model_analysis.proto import config_pb2

from components.model.export import EVALUATION_SIGNATURE, TRANSFORM_SIGNATURE
from components.settings.gate import GateSettings
from data import features

ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"
SKILL = "skill_over_majority"
SKILL_FLOOR = 0.15
"""0.36 accuracy for four even classes."""
ROUNDING = 1e-6
"""TFMA's accuracy is a float32: 7 of 10 are below 0.7, and would miss a floor of 0.7."""


def skill_over_majority(matrix: Mapping[MatrixEntryKey, float]) -> float:
    """How far a classifier gets from always naming the majority class to being always right.

    It is the skill score of forecasting, (accuracy - m) / (1 - m) with m the majority share
    (https://en.wikipedia.org/wiki/Forecast_skill): 0 is the majority class, 1 is perfect.
    Unlike a fixed accuracy it can be asked for before the photos are known.

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


def eval_config(gate: GateSettings) -> config_pb2.EvalConfig:
    """The Evaluator's configuration.

    Metrics are computed over all photos and for each class, where accuracy is the class's
    recall; the gate's thresholds hold over all photos only.

    Args:
        gate: what a model must reach.
    """
    accuracy = tfma.MetricThreshold(
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER,
            absolute={"value": -gate.accuracy_drop - ROUNDING},
        )
    )
    skill = None
    if gate.accuracy_floor is None:
        skill = tfma.MetricThreshold(value_threshold=_at_least(SKILL_FLOOR))
    else:
        accuracy.value_threshold.CopyFrom(_at_least(gate.accuracy_floor))
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                # A plain SavedModel: TFMA's Keras loader knows Keras 2 models only.
                model_type="tf_generic",
                signature_name=EVALUATION_SIGNATURE,
                preprocessing_function_names=[TRANSFORM_SIGNATURE],
                label_key=features.LABEL_XF,
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[features.LABEL])],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    _over_all_photos("SparseCategoricalAccuracy", accuracy),
                    _over_all_photos("SkillOverMajority", skill, module=__name__),
                    tfma.MetricConfig(class_name="SparseCategoricalCrossentropy"),
                    tfma.MetricConfig(
                        class_name="MultiClassConfusionMatrixPlot", config='{"thresholds": [0.0]}'
                    ),
                ]
            )
        ],
    )


def _at_least(value: float) -> config_pb2.GenericValueThreshold:
    return tfma.GenericValueThreshold(lower_bound={"value": value - ROUNDING})


def _over_all_photos(
    class_name: str, threshold: config_pb2.MetricThreshold | None, *, module: str = ""
) -> config_pb2.MetricConfig:
    """A metric whose threshold, if any, holds for all photos together.

    TFMA's plain `threshold` would hold for every slice, each class included.
    """
    thresholds = (
        [
            config_pb2.PerSliceMetricThreshold(
                slicing_specs=[tfma.SlicingSpec()], threshold=threshold
            )
        ]
        if threshold is not None
        else []
    )
    return tfma.MetricConfig(class_name=class_name, module=module, per_slice_thresholds=thresholds)
