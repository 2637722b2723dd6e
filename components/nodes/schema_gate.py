"""The schema's two small nodes: the curated schema goes in, and no anomaly comes through."""

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.errors import ComponentError
from data.contract import features

_CURATED = Path(__file__).with_name("schema.pbtxt")
_SCHEMA_FILE = "schema.pbtxt"
_ANOMALIES_FILE = "SchemaDiff.pb"


def curated_schema(classes: Iterable[str]) -> str:
    """The text of schema.pbtxt, in which the label may only be one of the class names."""
    schema = text_format.Parse(_CURATED.read_text(), schema_pb2.Schema())
    (label,) = (feature for feature in schema.feature if feature.name == features.LABEL)
    label.string_domain.name = features.LABEL
    label.string_domain.value[:] = list(classes)
    return str(text_format.MessageToString(schema, as_utf8=True))


def describe(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One line an anomaly: the feature, then TFDV's own words, which hold the value."""
    lines = [
        f"{feature or 'dataset'}: {(reason.description or reason.short_description).rstrip('. ')}"
        for feature, info in sorted(anomalies.anomaly_info.items())
        for reason in info.reason
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines += [
            f"dataset: {reason.description}" for reason in anomalies.dataset_anomaly_info.reason
        ]
    return lines


@component
def CuratedSchema(  # noqa: N802 (a TFX component is named like a class)
    schema: OutputArtifact[standard_artifacts.Schema],
    text: Parameter[str],
    code: Parameter[str],
) -> None:
    """Makes a Schema artifact of its text.

    ImportSchemaGen would copy a file, whose path is another one in the image of a cluster, and
    whose content is not part of its cache key.

    Args:
        schema: the artifact.
        text: a Schema as text_format.
        code: a hash of the code that runs here, for the cache.
    """
    io_utils.write_string_file(f"{schema.uri}/{_SCHEMA_FILE}", text)


@component
def AnomalyGate(  # noqa: N802
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    code: Parameter[str],
) -> None:
    """Fails the run when ExampleValidator found anything, in any split.

    Args:
        anomalies: what it found.
        code: a hash of the code that looks, for the cache.

    Raises:
        ComponentError: names the split, the feature and the value of each anomaly.
    """
    found = []
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        file = f"{artifact_utils.get_split_uri([anomalies], split)}/{_ANOMALIES_FILE}"
        content = anomalies_pb2.Anomalies.FromString(io_utils.read_bytes_file(file))
        found += [f"{split}: {line}" for line in describe(content)]
    if found:
        raise ComponentError(f"the data breaks its schema: {'; '.join(found)}")
