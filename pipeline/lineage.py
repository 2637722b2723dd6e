"""What MLMD knows of where a run's photos came from, beside what TFX itself keeps there."""

from pathlib import Path

from ml_metadata import MetadataStore

from data import spans
from pipeline.summary import newest_run


def describe_run(store: MetadataStore, span: Path) -> None:
    """Tells MLMD which span the newest run has read.

    The run's context gets it, not the Examples: what is written to an artifact becomes part of the
    cache keys of all nodes that read it.

    Args:
        store: where the run is kept.
        span: the folder of the span; of it, the custom properties `span`, `manifest_sha256`,
            `relabelled` (photos whose label, or use, was decided on) and `relabels_sha256` (of the
            file of decisions; empty if there were none).
    """
    manifest = spans.read_manifest(span)
    run = newest_run(store)
    properties = run.custom_properties
    properties["span"].int_value = spans.read_number(span)
    properties["manifest_sha256"].string_value = spans.hash_file(span / spans.MANIFEST)
    properties["relabelled"].int_value = manifest["relabelled"]
    properties["relabels_sha256"].string_value = manifest["relabels_sha256"]
    store.put_contexts([run])
