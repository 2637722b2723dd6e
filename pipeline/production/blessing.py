"""A model that the gate has blocked and a person pushes: what is pushed, and what MLMD is told."""

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.contract.errors import UserError
from data.contract.model import ACCURACY
from data.contract.nodes import EVALUATOR, PUSHER, TRAINER
from pipeline.outputs import PIPELINE_RUN, Outputs, pushed_version

_CONTEXTS = ("pipeline", PIPELINE_RUN, "node")


def blocked_model(run: mlmd.Context, outputs: Outputs) -> tuple[str, float]:
    """Where the model is that the gate has blocked in a run, and its accuracy on the test photos.

    Raises:
        UserError: the run did not come to the gate, has pushed its model, or the model is gone.
    """
    pushed = outputs.artifacts.get((PUSHER, "pushed_model"))
    if pushed is None:
        raise UserError(f"run {run.name} did not come to its end: run again")
    if (version := pushed_version(pushed)) is not None:
        raise UserError(f"run {run.name} has pushed its model, version {version}: name that")
    model = outputs.uri(TRAINER, "model")
    if not model.is_dir():
        raise UserError(f"{model} is gone: run again, and the model is made anew")
    blessing = outputs.artifacts[EVALUATOR, "blessing"]
    return str(model), blessing.custom_properties[ACCURACY].double_value


def record_push(store: MetadataStore, run: mlmd.Context, outputs: Outputs, version: str) -> None:
    """Tells MLMD of a push, as a further execution of the run's Pusher.

    So all that looks for pushed models finds it: `history`, `why`, and the next run, which must not
    be worse than what was pushed last.

    Args:
        store: where the run is kept.
        run: its context.
        outputs: of the run, whose Pusher has pushed nothing.
        version: where the model was pushed to.
    """
    before = outputs.executions[PUSHER]
    execution = mlmd.Execution(
        type_id=before.type_id,
        last_known_state=mlmd.Execution.COMPLETE,
        properties=before.properties,
        custom_properties=before.custom_properties,
    )
    blocked = outputs.artifacts[PUSHER, "pushed_model"]
    pushed = mlmd.Artifact(
        type_id=blocked.type_id,
        uri=blocked.uri,
        state=mlmd.Artifact.LIVE,
        properties=blocked.properties,
        custom_properties=blocked.custom_properties,
    )
    said = pushed.custom_properties
    said["pushed"].int_value = 1
    said["pushed_destination"].string_value = version
    said["pushed_version"].string_value = version.rpartition("/")[2]
    edges: list[tuple[int, int | None, mlmd.Event]] = []
    for event in store.get_events_by_execution_ids([before.id]):
        again = mlmd.Event(type=event.type, path=event.path)
        made = event.type == mlmd.Event.OUTPUT
        if not made:
            again.artifact_id = event.artifact_id
        edges.append((0, 0 if made else None, again))
    contexts = [
        context
        for context in store.get_contexts_by_execution(before.id)
        if context.type in _CONTEXTS
    ]
    assert run.id in {context.id for context in contexts}
    store.put_lineage_subgraph([execution], [pushed], contexts, edges)
