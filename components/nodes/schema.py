"""The node that brings in the curated schema."""

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from data.contract import features

_CURATED = Path(__file__).with_name("schema.pbtxt")
_SCHEMA_FILE = "schema.pbtxt"


def curated_schema(classes: Iterable[str]) -> str:
    """The text of schema.pbtxt, with the label restricted to the class names."""
    schema = text_format.Parse(_CURATED.read_text(), schema_pb2.Schema())
    (label,) = (feature for feature in schema.feature if feature.name == features.LABEL)
    label.string_domain.name = features.LABEL
    label.string_domain.value[:] = list(classes)
    return str(text_format.MessageToString(schema, as_utf8=True))


@component
def CuratedSchema(  # noqa: N802 (a TFX component is named like a class)
    schema: OutputArtifact[standard_artifacts.Schema],
    text: Parameter[str],
    code: Parameter[str],
) -> None:
    """Makes a Schema artifact from its text.

    ImportSchemaGen would copy a file whose path is another one in the image of a cluster, and whose
    content is not part of its cache key.

    Args:
        schema: the artifact.
        text: a Schema in protobuf's text format.
        code: a hash of the code that runs here, for the cache.
    """
    io_utils.write_string_file(f"{schema.uri}/{_SCHEMA_FILE}", text)
