"""What a run has left, as the metadata store (MLMD) knows it; without TFX, which takes seconds."""

from dataclasses import dataclass
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd


def open_store(file: Path) -> MetadataStore:
    """The metadata store in a file of SQLite."""
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(file)
    return MetadataStore(connection)


@dataclass(frozen=True)
class Outputs:
    """The output artifacts of one run, by node and output key, and which nodes were cached."""

    artifacts: dict[tuple[str, str], mlmd.Artifact]
    cached: dict[str, bool]

    def uri(self, node: str, key: str) -> Path:
        """Where an output is."""
        return Path(self.artifacts[node, key].uri)


def newest_run(store: MetadataStore) -> mlmd.Context:
    """The context of the newest pipeline run in the MLMD store."""
    return max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)


def read_outputs(store: MetadataStore, run: mlmd.Context) -> Outputs:
    """The outputs of a pipeline run.

    Args:
        store: where it is kept.
        run: its context.
    """
    artifacts: dict[tuple[str, str], mlmd.Artifact] = {}
    cached: dict[str, bool] = {}
    for execution in store.get_executions_by_context(run.id):
        contexts = store.get_contexts_by_execution(execution.id)
        (node,) = (c.name.split(".", 1)[1] for c in contexts if c.type == "node")
        cached[node] = execution.last_known_state == mlmd.Execution.CACHED
        events = [
            event
            for event in store.get_events_by_execution_ids([execution.id])
            if event.type == mlmd.Event.OUTPUT
        ]
        found = {a.id: a for a in store.get_artifacts_by_id([e.artifact_id for e in events])}
        for event in events:
            artifacts[node, event.path.steps[0].key] = found[event.artifact_id]
    return Outputs(artifacts, cached)
