"""What a run has left, as the metadata store (MLMD) knows it; without TFX, which takes seconds."""

import json
from dataclasses import dataclass
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.contract.errors import UserError

PIPELINE_RUN = "pipeline_run"
"""TFX's type of the context that all executions of a run have in common."""


def open_store(file: Path) -> MetadataStore:
    """The metadata store in a file of SQLite.

    Raises:
        UserError: the file is something else, or damaged.
    """
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(file)
    try:
        return MetadataStore(connection)
    except RuntimeError as error:
        reason = str(error).partition(" query:")[0].strip()
        raise UserError(
            f"{file} cannot be read ({reason}): put a copy back or name another --workdir"
        ) from error


@dataclass(frozen=True)
class Outputs:
    """What the nodes of one run have made."""

    artifacts: dict[tuple[str, str], mlmd.Artifact]
    """By node and output key."""
    executions: dict[str, mlmd.Execution]
    """By node."""

    @property
    def cached(self) -> dict[str, bool]:
        """Whether each node's outputs came from the cache."""
        return {
            node: each.last_known_state == mlmd.Execution.CACHED
            for node, each in self.executions.items()
        }

    @property
    def code(self) -> dict[str, str]:
        """The hash of the code of each node that is keyed by one; several for an ensemble."""
        found = {}
        for node, execution in self.executions.items():
            values = execution.custom_properties
            custom = json.loads(values["custom_config"].string_value or "null") or {}
            members = json.loads(values["members"].string_value or "[]")
            keyed = [values["code"].string_value, custom.get("code", "")]
            keyed += [each["code"] for each in members]
            if code := " ".join(filter(None, keyed)):
                found[node] = code
        return found

    def uri(self, node: str, key: str) -> Path:
        """Where an output is."""
        return Path(self.artifacts[node, key].uri)


def pushed_version(artifact: mlmd.Artifact) -> str | None:
    """The version that a PushedModel stands for; None if the gate blocked the model."""
    properties = artifact.custom_properties
    if not properties["pushed"].int_value:
        return None
    return Path(properties["pushed_destination"].string_value).name


def newest_run(store: MetadataStore) -> mlmd.Context:
    """The context of the newest pipeline run in the MLMD store."""
    return max(store.get_contexts_by_type(PIPELINE_RUN), key=lambda context: context.id)


def run_that_pushed(store: MetadataStore, version: str) -> mlmd.Context | None:
    """The context of the first run that has pushed a version; None if none is known to have."""
    for artifact in store.get_artifacts_by_type("PushedModel"):
        if pushed_version(artifact) == version:
            (event, *_) = store.get_events_by_artifact_ids([artifact.id])
            for context in store.get_contexts_by_execution(event.execution_id):
                if context.type == PIPELINE_RUN:
                    return context
    return None


def read_outputs(store: MetadataStore, run: mlmd.Context) -> Outputs:
    """The outputs of a pipeline run.

    Args:
        store: where it is kept.
        run: its context.
    """
    artifacts: dict[tuple[str, str], mlmd.Artifact] = {}
    executions: dict[str, mlmd.Execution] = {}
    # A later execution of a node, by which a person pushed what the gate had blocked, counts.
    for execution in sorted(store.get_executions_by_context(run.id), key=lambda each: each.id):
        contexts = store.get_contexts_by_execution(execution.id)
        (node,) = (c.name.split(".", 1)[1] for c in contexts if c.type == "node")
        executions[node] = execution
        events = [
            event
            for event in store.get_events_by_execution_ids([execution.id])
            if event.type == mlmd.Event.OUTPUT
        ]
        found = {a.id: a for a in store.get_artifacts_by_id([e.artifact_id for e in events])}
        for event in events:
            artifacts[node, event.path.steps[0].key] = found[event.artifact_id]
    return Outputs(artifacts, executions)
