"""What MLMD knows of where the photos came from, beside what TFX itself keeps there."""

from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data import spans


def describe_examples(store: MetadataStore, examples: mlmd.Artifact, span: Path) -> None:
    """Tells MLMD of the span that examples were read from.

    Args:
        store: where the artifact is kept.
        examples: an output of ImportExampleGen; it gets the custom properties `manifest_sha256`,
            `relabelled` (photos whose label, or use, was decided on) and `relabels_sha256` (of the
            file of decisions; empty if there were none).
        span: the folder of the span.
    """
    manifest = spans.read_manifest(span)
    properties = examples.custom_properties
    properties["manifest_sha256"].string_value = spans.hash_file(span / spans.MANIFEST)
    properties["relabelled"].int_value = manifest["relabelled"]
    properties["relabels_sha256"].string_value = manifest["relabels_sha256"]
    store.put_artifacts([examples])
