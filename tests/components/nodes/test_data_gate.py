import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.data_gate import checks
from components.data_gate.checks import Check
from components.data_gate.settings import LIMIT_OF, Limits
from components.errors import ComponentError
from components.nodes.distributions import (
    AGAINST,
    LET_THROUGH,
    SERVED,
    DistributionValidator,
    EarlierSpanStrategy,
    ServedStatistics,
)
from data.contract import features
from data.contract.features import BRIGHTNESS, HEIGHT, LABEL, SPLITS, WIDTH

Edit = Callable[[tf.train.Example], None]
Photos = Sequence[tuple[float, int, int, str]]
"""Brightness, width, height and label of some."""


@pytest.fixture
def gate(
    run_node: Any, new_artifact: Any, schema: Any, records: dict[str, list[bytes]]
) -> Callable[[dict[str, Edit]], None]:
    """Statistics, validation and the gate over the records, with one of some splits edited."""

    def run(edits: dict[str, Edit]) -> None:
        examples = new_artifact(standard_artifacts.Examples)
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        for split in SPLITS:
            first = tf.train.Example.FromString(records[split][0])
            if split in edits:
                edits[split](first)
            folder = Path(artifact_utils.get_split_uri([examples], split))
            folder.mkdir()
            with tf.io.TFRecordWriter(str(folder / "part.gz"), "GZIP") as writer:
                for record in [first.SerializeToString(), *records[split][1:]]:
                    writer.write(record)
        statistics = run_node("StatisticsGen", {"examples": examples})["statistics"]
        found = run_node("ExampleValidator", {"statistics": statistics, "schema": schema})
        run_node(
            "DataGate",
            {"examples": examples, "statistics": statistics, "anomalies": found["anomalies"]},
        )

    return run


def test_ingested_photos_pass(gate: Callable[[dict[str, Edit]], None]) -> None:
    gate({})


def test_the_run_stops_at_anomalies_and_names_split_feature_and_value(
    gate: Callable[[dict[str, Edit]], None],
) -> None:
    def mislabel(record: tf.train.Example) -> None:
        record.features.feature[features.LABEL].bytes_list.value[:] = [b"puzzled"]

    def lose_image(record: tf.train.Example) -> None:
        del record.features.feature[features.IMAGE]

    with pytest.raises(ComponentError, match="the data gate stops the run: ") as caught:
        gate({"val": mislabel, "test": lose_image})
    message = str(caught.value)
    assert "\n" not in message
    assert f"anomaly of {features.LABEL}: 1, limit 0 (val: " in message
    assert "puzzled" in message
    assert f"anomaly of {features.IMAGE}: " in message
    assert "(test: " in message
    assert 'check="anomaly"' in message


def test_remote_anomalies_stop_the_run_too(
    new_remote_artifact: Any, run_node: Any, examples: Any, statistics: Any
) -> None:
    found = new_remote_artifact(standard_artifacts.ExampleAnomalies)
    found.split_names = artifact_utils.encode_split_names(["val"])
    anomalies = anomalies_pb2.Anomalies()
    anomalies.dataset_anomaly_info.reason.add(description="is empty")
    file = f"{artifact_utils.get_split_uri([found], 'val')}/SchemaDiff.pb"
    io_utils.write_bytes_file(file, anomalies.SerializeToString())
    with pytest.raises(
        ComponentError, match=r"stops the run: anomaly of dataset: 1, limit 0 \(val: is empty\)"
    ):
        run_node("DataGate", {"examples": examples, "statistics": statistics, "anomalies": found})


def draw(
    number: int, seed: int, *, dark: float = 1, small: float = 1, happy: float = 0.25
) -> Photos:
    """Figures like those of real photos, most of which are 192 or 384 pixels wide."""
    random = np.random.default_rng(seed)
    bright = np.clip(random.normal(126, 35, number), 0, 255) * dark
    sides = random.choice([192, 384], number, p=[0.45, 0.55]) * small
    others = (1 - happy) / 3
    labels = random.choice(
        ["angry", "happy", "relaxed", "sad"], number, p=[others, happy, others, others]
    )
    return [
        (float(b), int(s), int(s), str(n)) for b, s, n in zip(bright, sides, labels, strict=True)
    ]


@pytest.fixture
def counted(new_artifact: Any) -> Callable[[Photos], Any]:
    """Statistics of photos, under the split `served`."""

    def count(photos: Photos) -> Any:
        statistics = new_artifact(standard_artifacts.ExampleStatistics)
        table = "\n".join(
            [",".join([BRIGHTNESS, WIDTH, HEIGHT, LABEL]), *(",".join(map(str, p)) for p in photos)]
        )
        ServedStatistics.EXECUTOR_SPEC.executor_class().Do(
            {}, {"statistics": [statistics]}, {"table": table, "code": ""}
        )
        return statistics

    return count


@pytest.fixture
def compare(
    counted: Callable[[Photos], Any], new_artifact: Any
) -> Callable[[Photos, Photos], dict[str, Check]]:
    """The checks of two sets of photos, by feature."""

    def compare(photos: Photos, baseline: Photos) -> dict[str, Check]:
        anomalies = new_artifact(standard_artifacts.ExampleAnomalies)
        DistributionValidator.EXECUTOR_SPEC.executor_class().Do(
            {"statistics": [counted(photos)], "baseline_statistics": [counted(baseline)]},
            {"anomalies": [anomalies]},
            {
                "pair": json.dumps([SERVED, SERVED]),
                "compared": json.dumps(list(LIMIT_OF)),
                "limits": Limits().model_dump_json(),
                "code": "",
            },
        )
        (pair,) = artifact_utils.decode_split_names(anomalies.split_names)
        file = Path(anomalies.uri, f"SplitPair-{pair}", "SchemaDiff.pb")
        found = checks.comparison_checks(
            "drift",
            anomalies_pb2.Anomalies.FromString(file.read_bytes()),
            anomalies.get_string_custom_property(AGAINST),
        )
        return {check.feature: check for check in found}

    return compare


@pytest.mark.parametrize(("m", "n"), [(60, 60), (60, 2000), (200, 200), (1000, 1000)])
def test_chance_alone_stops_nothing(m: int, n: int, compare: Any) -> None:
    for seed in range(10):
        found = compare(draw(m, 2 * seed), draw(n, 2 * seed + 1))
        assert found.keys() == LIMIT_OF.keys()
        assert all(check.within and check.measured is not None for check in found.values())


@pytest.mark.parametrize(
    ("number", "change", "features_found"),
    [
        (60, {"dark": 0.5}, {BRIGHTNESS}),
        (200, {"dark": 0.7}, {BRIGHTNESS}),
        (2000, {"dark": 0.8}, {BRIGHTNESS}),
        (60, {"small": 0.75}, {WIDTH, HEIGHT}),
        (60, {"happy": 0.8}, {LABEL}),
        (2000, {"happy": 0.4}, {LABEL}),
    ],
)
def test_each_kind_of_change_is_found_alone(
    number: int, change: dict[str, float], features_found: set[str], compare: Any
) -> None:
    found = compare(draw(number, 1, **change), draw(number, 2))
    assert {name for name, check in found.items() if not check.within} == features_found
    if features_found == {LABEL}:
        assert found[LABEL].remark.endswith(", most of all happy")


def test_photos_of_one_size_and_a_few_of_others_are_alike(compare: Any) -> None:
    """TFDV's histograms with bars of equal width say that they differ by 1."""
    same = [(brightness, 512, 384, label) for brightness, _, _, label in draw(300, 1)]
    mixed = [
        (brightness, 300 if number % 50 == 0 else 512, 384, label)
        for number, (brightness, _, _, label) in enumerate(draw(300, 2))
    ]
    assert compare(same, mixed)[WIDTH].within


def test_statistics_that_lack_a_figure_are_not_compared_in_it_and_that_is_said(
    compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = draw(60, 1)
    assert compare(photos, photos)[WIDTH].measured == 0
    monkeypatch.setattr("tests.components.nodes.test_data_gate.BRIGHTNESS", "image/gamma")
    check = compare(photos, photos)[features.BRIGHTNESS]
    assert (check.measured, check.passed) == (None, True)
    assert "not in the statistics of both" in check.remark


def test_statistics_whose_files_are_gone_are_named(
    counted: Callable[[Photos], Any], new_artifact: Any
) -> None:
    here, gone = counted(draw(60, 1)), counted(draw(60, 2))
    verdict = new_artifact(standard_artifacts.ExampleAnomalies)
    verdict.span = 3
    for file in Path(gone.uri).rglob("*.pb"):
        file.unlink()
    with pytest.raises(ComponentError, match="is gone, the statistics of the photos of span 3"):
        DistributionValidator.EXECUTOR_SPEC.executor_class().Do(
            {
                "statistics": [here],
                "baseline_statistics": [gone],
                "baseline_verdict": [verdict],
            },
            {"anomalies": [new_artifact(standard_artifacts.ExampleAnomalies)]},
            {"pair": json.dumps([SERVED, SERVED]), "compared": "[]", "limits": "{}", "code": ""},
        )


def test_the_newest_earlier_span_that_passed_is_compared_with() -> None:
    """Whatever the spans' numbers: they begin anew where all spans have been deleted."""
    ids = itertools.count(1)

    def counted() -> Any:
        statistics = standard_artifacts.ExampleStatistics()
        statistics.id = next(ids)
        return statistics

    def verdict(span: int, statistics: Any) -> Any:
        artifact = standard_artifacts.ExampleAnomalies()
        artifact.id, artifact.span = next(ids), span
        artifact.set_int_custom_property(LET_THROUGH, statistics.id)
        return artifact

    one, again, two, four = (counted() for _ in range(4))
    of_one, of_two, of_one_again = verdict(1, one), verdict(2, two), verdict(1, again)
    current = standard_artifacts.Examples()
    current.id = next(ids)
    current.set_int_custom_property("span", 1)
    of_current = verdict(1, four)
    of_a_validator = standard_artifacts.ExampleAnomalies()

    def resolve(*verdicts: Any) -> list[Any]:
        given = {
            "current": [current],
            "statistics": [one, four, again, two],
            "verdict": [of_a_validator, *verdicts],
        }
        found = EarlierSpanStrategy().resolve_artifacts(SimpleNamespace(), given)
        assert found.keys() == given.keys()
        assert len(found["verdict"]) == len(found["statistics"])
        return found["statistics"]

    assert resolve() == []
    assert resolve(of_current) == []
    assert resolve(of_one, of_two, of_current) == [two]
    assert resolve(of_two, of_one, of_current) == [two]
    assert resolve(of_one, of_one_again) == [again]
