"""The TFMA metrics that it lacks: how two models differ photo by photo, and calibration."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types, metric_util
from tensorflow_model_analysis.proto import config_pb2

from components.reliability import BINS, bin_of

ACCURACY = "sparse_categorical_accuracy"
LOSS = "sparse_categorical_crossentropy"
CALIBRATION_ERROR = "expected_calibration_error"

Answer = tuple[int, NDArray[np.floating]]
"""A photo's class id, and the probabilities that a model gives it."""


class PairedCounts(metric_types.Metric):
    """The photos that only one of two models has right: what McNemar's test needs.

    `gained_X` and `lost_X` are values of the first model in the configuration: what it has right
    and the model X has wrong, and the other way round. TFMA's own flip rates are those of a binary
    classifier.
    """

    def __init__(self, name: str = "paired_counts") -> None:
        super().__init__(_paired_counts, name=name)


def _paired_counts(
    name: str,
    eval_config: config_pb2.EvalConfig | None = None,
    model_names: Sequence[str] = (),
    output_names: Sequence[str] = ("",),
    sub_keys: Sequence[metric_types.SubKey | None] = (None,),
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    del name, output_names, sub_keys, example_weighted
    first, *others = model_names
    return [_paired_count(eval_config, first, other) for other in others]


def _paired_count(
    eval_config: config_pb2.EvalConfig | None, first: str, other: str
) -> metric_types.MetricComputation:
    keys = [
        metric_types.MetricKey(name=name, model_name=first) for name in (gained(other), lost(other))
    ]

    def count(inputs: metric_types.StandardMetricInputs) -> NDArray[Any]:
        right, other_right = (
            _is_right(_answer(inputs, eval_config, name)) for name in (first, other)
        )
        return np.array([right and not other_right, other_right and not right], np.float64)

    def result(total: NDArray[Any]) -> dict[metric_types.MetricKey, float]:
        return dict(zip(keys, total, strict=True))

    return metric_types.MetricComputation(
        keys=keys, preprocessors=None, combiner=_Sum(count, (2,), result)
    )


def gained(other: str) -> str:
    """The name of the count of photos that the model has right and another one wrong."""
    return f"gained_{other}"


def lost(other: str) -> str:
    """The name of the count of photos that the model has wrong and another one right."""
    return f"lost_{other}"


class ExpectedCalibrationError(metric_types.Metric):
    """How far what a model says of its certainty is from how often it is right, on average.

    It is the expected calibration error of Guo et al. 2017 (arXiv:1706.04599), over `BINS` bins of
    equal width of the largest probability.
    """

    def __init__(self, name: str = CALIBRATION_ERROR) -> None:
        super().__init__(metric_util.merge_per_key_computations(_calibration_error), name=name)


def _calibration_error(
    name: str = CALIBRATION_ERROR,
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

    def excess(inputs: metric_types.StandardMetricInputs) -> NDArray[Any]:
        label, probabilities = _answer(inputs, eval_config, model_name)
        confidence = probabilities.max()
        found = np.zeros((2, BINS))
        found[:, bin_of(confidence)] = 1, confidence - _is_right((label, probabilities))
        return found

    def result(total: NDArray[Any]) -> dict[metric_types.MetricKey, float]:
        photos, difference = total
        return {key: float(np.abs(difference).sum() / photos.sum())}

    return [
        metric_types.MetricComputation(
            keys=[key], preprocessors=None, combiner=_Sum(excess, (2, BINS), result)
        )
    ]


def _answer(
    inputs: metric_types.StandardMetricInputs,
    eval_config: config_pb2.EvalConfig | None,
    model_name: str,
) -> Answer:
    ((label, probabilities, _),) = metric_util.to_label_prediction_example_weight(
        inputs, eval_config=eval_config, model_name=model_name, flatten=False
    )
    return int(label.item()), np.asarray(probabilities, np.float64).ravel()


def _is_right(answer: Answer) -> bool:
    label, probabilities = answer
    return bool(probabilities.argmax() == label)


class _Sum(beam.CombineFn):
    """Adds up an array per photo and makes metrics of the sum."""

    def __init__(
        self,
        of: Callable[[metric_types.StandardMetricInputs], NDArray[Any]],
        shape: tuple[int, ...],
        result: Callable[[NDArray[Any]], Mapping[metric_types.MetricKey, float]],
    ) -> None:
        self._of = of
        self._shape = shape
        self._result = result

    def create_accumulator(self) -> NDArray[Any]:
        return np.zeros(self._shape)

    def add_input(
        self, accumulator: NDArray[Any], element: metric_types.StandardMetricInputs
    ) -> NDArray[Any]:
        return accumulator + self._of(element)

    def merge_accumulators(self, accumulators: Iterable[NDArray[Any]]) -> NDArray[Any]:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: NDArray[Any]) -> Mapping[metric_types.MetricKey, float]:
        return self._result(accumulator)


metric_types.register_metric(PairedCounts)
metric_types.register_metric(ExpectedCalibrationError)
