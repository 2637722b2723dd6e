"""Which models were pushed, and what nodes were given, as the metadata store (MLMD) knows it."""

from collections.abc import Iterable

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.outputs import pushed_version

MODEL = "model"
"""The input of Evaluator and Pusher that holds the model which they are about."""


def inputs_behind(store: MetadataStore, made: Iterable[mlmd.Artifact]) -> dict[int, dict[str, int]]:
    """What the nodes were given that made some artifacts.

    Args:
        store: where the artifacts are kept.
        made: they themselves.

    Returns:
        By each artifact's id, the id of the first artifact under each input of its node.
    """
    found: dict[int, dict[str, int]] = {artifact.id: {} for artifact in made}
    if not found:
        return {}
    by_execution = {
        event.execution_id: event.artifact_id
        for event in store.get_events_by_artifact_ids(list(found))
        if event.type == mlmd.Event.OUTPUT
    }
    for event in store.get_events_by_execution_ids(list(by_execution)):
        key, *rest = event.path.steps
        first = not rest or rest[0].index == 0
        if event.type == mlmd.Event.INPUT and first:
            found[by_execution[event.execution_id]][key.key] = event.artifact_id
    return found


def pushed_models(store: MetadataStore) -> list[tuple[int, str]]:
    """The id of the Model and the version of each push, the oldest first."""
    pushed = {
        artifact.id: (artifact, version)
        for artifact in store.get_artifacts_by_type("PushedModel")
        if (version := pushed_version(artifact)) is not None
    }
    given = inputs_behind(store, (artifact for artifact, _ in pushed.values()))
    return [
        (given[number][MODEL], pushed[number][1])
        for number in sorted(given)
        if MODEL in given[number]
    ]
