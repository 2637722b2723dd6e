"""The gate: the conditions of a blessing, as TFMA's configuration."""

from tensorflow_model_analysis.proto import config_pb2

from components.evaluation import metrics
from components.evaluation.settings import GateSettings
from data.contract import features
from data.contract.model import EVALUATION_SIGNATURE, TRANSFORM_SIGNATURE

SKILL_FLOOR = 0.15
"""0.36 accuracy for four even classes."""
ROUNDING = 1e-6
"""TFMA's accuracy is a float32: 7 of 10 are below 0.7, and would miss a floor of 0.7."""


def eval_config(gate: GateSettings) -> config_pb2.EvalConfig:
    """The Evaluator's configuration.

    Metrics are computed over all photos and for each class, where accuracy is the class's
    recall; the gate's thresholds hold over all photos only.

    Args:
        gate: what a model must reach.
    """
    accuracy = config_pb2.MetricThreshold(
        change_threshold=config_pb2.GenericChangeThreshold(
            direction=config_pb2.MetricDirection.HIGHER_IS_BETTER,
            absolute={"value": -gate.accuracy_drop - ROUNDING},
        )
    )
    skill = None
    if gate.accuracy_floor is None:
        skill = config_pb2.MetricThreshold(value_threshold=_at_least(SKILL_FLOOR))
    else:
        accuracy.value_threshold.CopyFrom(_at_least(gate.accuracy_floor))
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                # A plain SavedModel: TFMA's Keras loader knows Keras 2 models only.
                model_type="tf_generic",
                signature_name=EVALUATION_SIGNATURE,
                preprocessing_function_names=[TRANSFORM_SIGNATURE],
                label_key=features.LABEL_XF,
            )
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            config_pb2.SlicingSpec(feature_keys=[features.LABEL]),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    _over_all_photos("SparseCategoricalAccuracy", accuracy),
                    _over_all_photos("SkillOverMajority", skill, module=metrics.__name__),
                    config_pb2.MetricConfig(class_name="SparseCategoricalCrossentropy"),
                    config_pb2.MetricConfig(
                        class_name="MultiClassConfusionMatrixPlot", config='{"thresholds": [0.0]}'
                    ),
                ]
            )
        ],
    )


def _at_least(value: float) -> config_pb2.GenericValueThreshold:
    return config_pb2.GenericValueThreshold(lower_bound={"value": value - ROUNDING})


def _over_all_photos(
    class_name: str, threshold: config_pb2.MetricThreshold | None, *, module: str = ""
) -> config_pb2.MetricConfig:
    """A metric whose threshold, if any, holds for all photos together.

    TFMA's plain `threshold` would hold for every slice, each class included.
    """
    thresholds = (
        [
            config_pb2.PerSliceMetricThreshold(
                slicing_specs=[config_pb2.SlicingSpec()], threshold=threshold
            )
        ]
        if threshold is not None
        else []
    )
    return config_pb2.MetricConfig(
        class_name=class_name, module=module, per_slice_thresholds=thresholds
    )
