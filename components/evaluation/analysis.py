"""The figures that TFMA computes from predictions: over all test photos, and over some of them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from numpy.typing import NDArray
from tensorflow_model_analysis.metrics import metric_types
from tensorflow_model_analysis.proto import config_pb2

from components.evaluation import metrics
from components.evaluation.chance import wilson_interval
from components.evaluation.figures import Comparison, Slice
from components.evaluation.metrics import ACCURACY, CALIBRATION_ERROR, LOSS, gained, lost
from components.evaluation.table import Answer, Photo

CANDIDATE, LAST, BEST = "candidate", "last", "best"
"""What TFMA knows the models by: the new one, the one pushed last, the best of those before."""

CLASS, BRIGHTNESS, SIDE, SUBJECT = "class", "brightness", "shorter side", "subject"
"""What the photos of a slice have in common."""

_LABEL_ID = "label_id"
_CHUNK = 1000


def analyze(
    pipeline: beam.Pipeline,
    classes: Sequence[str],
    photos: Sequence[Photo],
    answers: Mapping[str, Sequence[Answer]],
    folder: str,
) -> None:
    """Adds TFMA to a Beam pipeline.

    Args:
        pipeline: is run by the caller.
        classes: names in the order of the probabilities.
        photos: the test photos.
        answers: what each model says about each photo; `CANDIDATE` comes first.
        folder: where TFMA's files go, local or remote.
    """
    sliced = _slices(photos, answers[CANDIDATE])
    columns = {
        **{name: _strings(values) for name, values in sliced.items()},
        _LABEL_ID: pa.array([[classes.index(photo.label)] for photo in photos]),
        **{
            name: pa.array([each.probabilities.tolist() for each in said])
            for name, said in answers.items()
        },
    }
    table = pa.table(columns)
    (
        pipeline
        | beam.Create(table.to_batches(max_chunksize=_CHUNK))
        | tfma.ExtractEvaluateAndWriteResults(
            eval_config=_eval_config(list(answers), list(sliced)), output_path=folder
        )
    )


def _strings(values: Sequence[str]) -> pa.Array:
    return pa.array([[value.encode()] for value in values], pa.list_(pa.binary()))


def _slices(photos: Sequence[Photo], answers: Sequence[Answer]) -> dict[str, list[str]]:
    """The slice that each photo falls into, by what it is about."""
    found = {
        CLASS: [photo.label for photo in photos],
        BRIGHTNESS: _thirds(np.array([photo.brightness for photo in photos]), ".0f"),
        SIDE: _thirds(np.array([min(photo.width, photo.height) for photo in photos]), ".0f"),
    }
    maps = [answer.map for answer in answers if answer.map is not None]
    if maps:
        found[SUBJECT] = _thirds(np.array([_share_of_subject(each) for each in maps]), ".0%")
    return found


def _share_of_subject(evidence: NDArray[np.float16]) -> float:
    """The share of a map's cells that are above half of its maximum."""
    highest = float(evidence.max())
    return float((evidence > highest / 2).mean()) if highest > 0 else 0.0


def _thirds(values: NDArray[Any], form: str) -> list[str]:
    """The third of all values that each is in, named after the bounds; equal ones stay together.

    The names are so chosen that their alphabetical order is that of the values.
    """
    bounds = np.unique(np.quantile(values, [1 / 3, 2 / 3], method="inverted_cdf"))
    names = [f"at most {bounds[0]:{form}}"]
    names += [f"from {low:{form}} to {high:{form}}" for low, high in pairwise(bounds)]
    names += [f"over {bounds[-1]:{form}}"]
    return [names[place] for place in np.searchsorted(bounds, values, side="left")]


def _eval_config(models: list[str], slices: list[str]) -> config_pb2.EvalConfig:
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                name=name, is_baseline=name == LAST, label_key=_LABEL_ID, prediction_key=name
            )
            for name in models
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[name]) for name in slices),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                model_names=models,
                metrics=[
                    config_pb2.MetricConfig(class_name="SparseCategoricalAccuracy"),
                    config_pb2.MetricConfig(class_name="SparseCategoricalCrossentropy"),
                    _metric_of_ours(metrics.PairedCounts),
                ],
            ),
            config_pb2.MetricsSpec(
                model_names=[CANDIDATE],
                metrics=[
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    config_pb2.MetricConfig(
                        class_name="MultiClassConfusionMatrixPlot", config='{"thresholds": [0.0]}'
                    ),
                    _metric_of_ours(metrics.ExpectedCalibrationError),
                ],
            ),
        ],
    )


def _metric_of_ours(metric: type[metric_types.Metric]) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=metric.__name__, module=metrics.__name__)


class Analysis:
    """What TFMA has written.

    Args:
        folder: given to `analyze`.
        models: the names of the models.
    """

    def __init__(self, folder: str, models: Sequence[str]) -> None:
        several = len(models) > 1  # TFMA leaves out the name of a single one
        self._results = {
            name: tfma.load_eval_result(folder, model_name=name if several else "")
            for name in models
        }

    def overall(self, model: str) -> dict[str, float]:
        """The metrics of a model over all photos, by name."""
        return dict(self._metrics(model))[()]

    def comparison(self, model: str) -> Comparison:
        """A model that the candidate was compared with."""
        candidate, other = self.overall(CANDIDATE), self.overall(model)
        return Comparison(
            accuracy=other[ACCURACY],
            loss=other[LOSS],
            gained=round(candidate[gained(model)]),
            lost=round(candidate[lost(model)]),
        )

    def slices(self) -> list[Slice]:
        """The candidate on some of the photos."""
        return sorted(
            (
                Slice(
                    by=by,
                    name=name,
                    photos=round(values["example_count"]),
                    accuracy=values[ACCURACY],
                    interval=wilson_interval(values[ACCURACY], round(values["example_count"])),
                    loss=values[LOSS],
                    calibration_error=values[CALIBRATION_ERROR],
                )
                for key, values in self._metrics(CANDIDATE)
                for by, name in key
            ),
            key=lambda each: (each.by, each.name),
        )

    def confusion(self, classes: int) -> list[list[int]]:
        """The candidate's photos by actual (row) and predicted (column) class id."""
        (plots,) = (values for key, values in self._results[CANDIDATE].plots if key == ())
        (matrix,) = plots[""][""]["multiClassConfusionMatrixAtThresholds"]["matrices"]
        confusion = [[0] * classes for _ in range(classes)]
        for entry in matrix["entries"]:  # protobuf leaves out an id of 0
            row, column = entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
            confusion[row][column] = round(entry["numWeightedExamples"])
        return confusion

    def _metrics(self, model: str) -> Iterator[tuple[Any, dict[str, float]]]:
        """TFMA nests metrics by output and sub key; here there is one of each."""
        for key, outputs in self._results[model].slicing_metrics:
            yield (
                key,
                {
                    name: value["doubleValue"]
                    for name, value in outputs[""][""].items()
                    if "doubleValue" in value
                },
            )
