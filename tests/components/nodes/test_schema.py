from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.nodes import schema
from components.nodes.schema import curated_schema
from components.staging import readable
from data.contract import features
from pipeline.config import Config


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
