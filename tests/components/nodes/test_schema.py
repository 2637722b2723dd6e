from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.errors import ComponentError
from components.nodes import schema
from components.nodes.schema import curated_schema, describe
from components.staging import readable
from data.contract import features
from data.contract.features import SPLITS
from pipeline.config import Config

Edit = Callable[[tf.train.Example], None]


@pytest.fixture
def curated() -> schema_pb2.Schema:
    text = Path(schema.__file__).with_name("schema.pbtxt").read_text()
    return text_format.Parse(text, schema_pb2.Schema())


def test_the_schema_in_the_repository_names_every_feature_of_a_record(
    curated: schema_pb2.Schema,
) -> None:
    assert {feature.name for feature in curated.feature} == {
        features.IMAGE,
        features.FILENAME,
        features.LABEL,
        features.SHA256,
        features.GROUP,
        features.BRIGHTNESS,
        features.WIDTH,
        features.HEIGHT,
    }


def test_classes_become_the_domain_of_the_label_alone(curated: schema_pb2.Schema) -> None:
    completed = text_format.Parse(curated_schema(["happy", "sad"]), schema_pb2.Schema())
    domains = {f.name: list(f.string_domain.value) for f in completed.feature}
    assert domains.pop(features.LABEL) == ["happy", "sad"]
    assert not any(domains.values())
    for feature in completed.feature:
        feature.ClearField("string_domain")
    assert completed == curated


def test_each_reason_of_each_anomaly_is_a_line() -> None:
    anomalies = anomalies_pb2.Anomalies()
    for name, reasons in {"b": ["gone", "short"], "a": ["odd"]}.items():
        for reason in reasons:
            anomalies.anomaly_info[name].reason.add(description=f"is {reason}")
    anomalies.anomaly_info[""].reason.add(short_description="few examples")
    anomalies.dataset_anomaly_info.reason.add(description="is empty")
    assert describe(anomalies) == [
        "dataset: few examples",
        "a: is odd",
        "b: is gone",
        "b: is short",
        "dataset: is empty",
    ]
    assert describe(anomalies_pb2.Anomalies()) == []


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
        run_node("AnomalyGate", {"anomalies": found["anomalies"]})

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

    with pytest.raises(ComponentError, match="the data breaks its schema") as caught:
        gate({"val": mislabel, "test": lose_image})
    message = str(caught.value)
    assert "\n" not in message
    label, *images = message.removeprefix("the data breaks its schema: ").split("; ")
    assert label.startswith(f"val: {features.LABEL}: ")
    assert "puzzled" in label
    assert images
    assert all(line.startswith(f"test: {features.IMAGE}: ") for line in images)


def test_the_class_names_reach_the_node_that_validates(schema: Any, config: Config) -> None:
    (file,) = Path(schema.uri).iterdir()
    completed = text_format.Parse(file.read_text(), schema_pb2.Schema())
    (label,) = (f for f in completed.feature if f.name == features.LABEL)
    assert list(label.string_domain.value) == list(config.classes)


def test_a_remote_schema_is_the_same(schema: Any, run_node: Any) -> None:
    completed = run_node("CuratedSchema", {}, remote=True)["schema"]
    assert completed.uri.startswith("ram://")
    with readable(completed.uri) as folder:
        (file,) = folder.iterdir()
        assert file.read_text() == (Path(schema.uri) / file.name).read_text()


def test_remote_anomalies_stop_the_run_too(new_remote_artifact: Any, run_node: Any) -> None:
    found = new_remote_artifact(standard_artifacts.ExampleAnomalies)
    found.split_names = artifact_utils.encode_split_names(["val"])
    anomalies = anomalies_pb2.Anomalies()
    anomalies.dataset_anomaly_info.reason.add(description="is empty")
    file = f"{artifact_utils.get_split_uri([found], 'val')}/SchemaDiff.pb"
    io_utils.write_bytes_file(file, anomalies.SerializeToString())
    with pytest.raises(ComponentError, match="the data breaks its schema: val: dataset: is empty"):
        run_node("AnomalyGate", {"anomalies": found})
