"""What MLMD knows of where a run's photos came from, beside what TFX itself keeps there."""

from pathlib import Path

from tfx.dsl.compiler.constants import PIPELINE_RUN_CONTEXT_TYPE_NAME
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable.mlmd.context_lib import prepare_contexts
from tfx.proto.orchestration import pipeline_pb2

from data import spans


def describe_run(metadata: Metadata, contexts: pipeline_pb2.NodeContexts, span: Path) -> None:
    """Tells MLMD which span a run reads, before it begins: a run that is stopped has a past, too.

    The run's context gets it, not the Examples: what is written to an artifact becomes part of the
    cache keys of all nodes that read it.

    Args:
        metadata: where the run is kept, opened.
        contexts: those of one of the run's nodes, which the runner would make itself.
        span: the folder of the span; of it, the custom properties `span`, `manifest_sha256`,
            `relabelled` (photos whose label, or use, was decided on) and `relabels_sha256` (of the
            file of decisions; empty if there were none).
    """
    manifest = spans.read_manifest(span)
    made = prepare_contexts(metadata, contexts)
    kind = metadata.store.get_context_type(PIPELINE_RUN_CONTEXT_TYPE_NAME).id
    (run,) = (context for context in made if context.type_id == kind)
    properties = run.custom_properties
    properties["span"].int_value = spans.read_number(span)
    properties["manifest_sha256"].string_value = spans.hash_file(span / spans.MANIFEST)
    properties["relabelled"].int_value = manifest["relabelled"]
    properties["relabels_sha256"].string_value = manifest["relabels_sha256"]
    metadata.store.put_contexts([run])
