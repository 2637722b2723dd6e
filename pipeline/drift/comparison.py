"""Photos in service compared with those trained on, by the measures and limits of the data gate."""

import csv
import io
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ml_metadata import MetadataStore
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types import standard_artifacts, standard_component_specs

from components.data_gate.checks import Check
from components.data_gate.settings import SKEW, Limits
from components.nodes.data_gate import compared
from components.nodes.distributions import (
    SERVED,
    DistributionValidatorExecutor,
    count,
    write_statistics,
)
from data.contract import features
from data.contract.errors import UserError
from data.contract.features import TRAIN
from data.contract.service import PHOTO_BRIGHTNESS, PHOTO_HEIGHT, PHOTO_WIDTH, STEP
from pipeline.drift.counted import Counted, spread
from pipeline.outputs import read_outputs, run_that_pushed

MOST_ROWS = 10_000
"""Of a table that stands for photos or answers: more of them are counted as so many."""
_MEASURED = {
    features.BRIGHTNESS: PHOTO_BRIGHTNESS,
    features.WIDTH: PHOTO_WIDTH,
    features.HEIGHT: PHOTO_HEIGHT,
}


def find_statistics(store: MetadataStore, version: str) -> Path:
    """The statistics of the training photos of a version, as StatisticsGen has written them.

    Raises:
        UserError: no run in the store has pushed the version, or they are gone.
    """
    run = run_that_pushed(store, version)
    if run is None:
        raise UserError(f"version {version}: no run here has pushed it; name its --workdir")
    artifact = read_outputs(store, run).artifacts.get(("StatisticsGen", "statistics"))
    folder = Path(artifact.uri) if artifact else Path()
    file = folder / f"Split-{TRAIN}" / stats_artifact_utils.BINARY_PB_BASENAME
    if not file.is_file():
        raise UserError(f"{file}, the statistics of version {version}'s training photos, is gone")
    return file


def compare(served: Counted, trained: Path, limits: Limits) -> list[Check]:
    """How the photos in service differ from those trained on, feature by feature.

    The server's histograms have buckets, and the statistics' quantiles have none. So each value is
    taken for the upper bound of its bucket on both sides: quantiles of the bounds are the bounds of
    the quantiles, and nothing is made up about what is in between.

    The answers are compared apart from the photos: they are as many as have seen a dog, and chance
    does more to few.

    Args:
        served: with at least one photo measured, and one answer about a dog.
        trained: the file of the statistics.
        limits: how far they may differ, apart from chance.
    """
    statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(trained.read_bytes())
    _round_up(statistics)
    checks = _differences(_answers(served), [features.LABEL], statistics, limits)
    return checks + _differences(_photos(served), list(_MEASURED), statistics, limits)


def _differences(
    table: str,
    names: list[str],
    trained: statistics_pb2.DatasetFeatureStatisticsList,
    limits: Limits,
) -> list[Check]:
    """Compares a CSV table of these features with the training photos."""
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {}
        for split, counted in ((SERVED, count(table)), (TRAIN, trained)):
            artifacts[split] = standard_artifacts.ExampleStatistics()
            artifacts[split].uri = f"{folder}/{split}"
            write_statistics(counted, split, artifacts[split])
        anomalies = standard_artifacts.ExampleAnomalies()
        anomalies.uri = f"{folder}/anomalies"
        DistributionValidatorExecutor().Do(
            {
                standard_component_specs.STATISTICS_KEY: [artifacts[SERVED]],
                standard_component_specs.BASELINE_STATISTICS_KEY: [artifacts[TRAIN]],
            },
            {standard_component_specs.ANOMALIES_KEY: [anomalies]},
            {
                "pair": json.dumps([SERVED, TRAIN]),
                "compared": json.dumps(names),
                "limits": limits.model_dump_json(),
            },
        )
        return compared(SKEW, anomalies, "")


def _answers(served: Counted) -> str:
    """Answers that are distributed as those that were counted, as a CSV table."""
    return _as_table({features.LABEL: spread(served.labels, min(served.dogs, MOST_ROWS))})


def _photos(served: Counted) -> str:
    """Photos that are distributed as those that were measured, as a CSV table."""
    rows = min(served.measured, MOST_ROWS)
    columns = {
        name: spread(served.histograms[histogram], rows) for name, histogram in _MEASURED.items()
    }
    columns[features.BRIGHTNESS] = [str(float(each)) for each in columns[features.BRIGHTNESS]]
    return _as_table(columns)


def _as_table(columns: Mapping[str, list[str]]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return table.getvalue()


def _round_up(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> None:
    """Takes the values of the features that a server measures for the bounds of their buckets."""
    (dataset,) = statistics.datasets
    for feature in dataset.features:
        if feature.path.step[0] not in _MEASURED:
            continue
        for histogram in feature.num_stats.histograms:
            for bucket in histogram.buckets:
                bucket.low_value = STEP * math.ceil(bucket.low_value / STEP)
                bucket.high_value = STEP * math.ceil(bucket.high_value / STEP)
