"""Metadata stores of runs that no pipeline has made."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.contract import verdict
from data.contract.model import ACCURACY
from data.contract.nodes import ACTIVATION_CACHE, EVALUATOR, PUSHER, REPORT, TRAINER
from pipeline.outputs import PIPELINE_RUN

KINDS = {
    "StatisticsGen": {"statistics": "ExampleStatistics"},
    ACTIVATION_CACHE: {"activations": "Examples"},
    TRAINER: {"model": "Model"},
    EVALUATOR: {"evaluation": "ModelEvaluation", "blessing": "ModelBlessing"},
    PUSHER: {"pushed_model": "PushedModel"},
    REPORT: {"report": "ModelRun"},
}
"""The types of the outputs of some nodes, by their keys."""


class Counted:
    """A store, and how often it was asked."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self.queries = 0

    def __getattr__(self, name: str) -> Any:
        self.queries += 1
        return getattr(self._store, name)


def memory_store() -> MetadataStore:
    """An empty store that goes with the process."""
    connection = mlmd.ConnectionConfig()
    connection.fake_database.SetInParent()
    return MetadataStore(connection)


class Recorder:
    """Writes runs into a store as TFX does."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._run = store.put_context_type(mlmd.ContextType(name=PIPELINE_RUN))
        self._node = store.put_context_type(mlmd.ContextType(name="node"))
        self._nodes: dict[str, mlmd.Context] = {}
        self._executions = {
            node: store.put_execution_type(mlmd.ExecutionType(name=node)) for node in KINDS
        }
        self._artifacts = {
            kind: store.put_artifact_type(mlmd.ArtifactType(name=kind))
            for outputs in KINDS.values()
            for kind in outputs.values()
        }

    def begin(self, name: str, **properties: int | str) -> mlmd.Context:
        """A run that has done nothing yet, and what is said of it."""
        run = mlmd.Context(type_id=self._run, name=name)
        _describe(run, properties)
        (run.id,) = self._store.put_contexts([run])
        return run

    def artifact(self, kind: str, uri: str = "", **properties: Any) -> mlmd.Artifact:
        """An artifact that is in no store yet."""
        found = mlmd.Artifact(type_id=self._artifacts[kind], uri=uri)
        _describe(found, properties)
        return found

    def run(
        self,
        run: mlmd.Context,
        node: str,
        *outputs: mlmd.Artifact,
        read: Mapping[str, mlmd.Artifact] = MappingProxyType({}),
        cached: bool = False,
        **properties: Any,
    ) -> None:
        """An execution of a node; outputs that are in the store already are what was cached.

        Args:
            run: it is a part of.
            node: its id.
            outputs: one for each of its output keys.
            read: inputs that are in the store, by their keys.
            cached: whether the outputs came from the cache.
            properties: the node's settings.
        """
        state = mlmd.Execution.CACHED if cached else mlmd.Execution.COMPLETE
        execution = mlmd.Execution(type_id=self._executions[node], last_known_state=state)
        _describe(execution, properties)
        edges: list[tuple[int, int | None, mlmd.Event]] = []
        for place, key in enumerate(KINDS[node]):
            event = mlmd.Event(type=mlmd.Event.OUTPUT)
            event.path.steps.add().key = key
            edges.append((0, place, event))
        for key, artifact in read.items():
            event = mlmd.Event(type=mlmd.Event.INPUT, artifact_id=artifact.id)
            event.path.steps.add().key = key
            event.path.steps.add().index = 0
            edges.append((0, None, event))
        _, made, _ = self._store.put_lineage_subgraph(
            [execution], list(outputs), [run, self._node_context(node)], edges
        )
        for artifact, number in zip(outputs, made, strict=True):
            artifact.id = number

    def measure(
        self,
        run: mlmd.Context,
        accuracy: float,
        said: str = verdict.PASSED,
        *,
        uri: str = "",
        read: Mapping[str, mlmd.Artifact] = MappingProxyType({}),
    ) -> list[mlmd.Artifact]:
        """The Evaluator's outputs in a run."""
        figures: dict[str, Any] = {
            ACCURACY: accuracy,
            verdict.ACCURACY_LOWER: accuracy - 0.04,
            verdict.ACCURACY_UPPER: accuracy + 0.04,
            verdict.VERDICT: said,
        }
        outputs = [self.artifact(kind, uri, **figures) for kind in KINDS[EVALUATOR].values()]
        self.run(run, EVALUATOR, *outputs, read=read)
        return outputs

    def push(
        self, run: mlmd.Context, version: Path | None, model: mlmd.Artifact | None = None
    ) -> mlmd.Artifact:
        """Pusher's output in a run; no version if the gate blocked the model."""
        said: dict[str, Any] = {} if version is None else {"pushed_destination": str(version)}
        output = self.artifact("PushedModel", pushed=int(version is not None), **said)
        self.run(run, PUSHER, output, read={"model": model} if model else {})
        return output

    def fail(self, run: mlmd.Context, node: str) -> None:
        """An execution of a node that has failed."""
        kind = self._store.put_execution_type(mlmd.ExecutionType(name=node))
        failed = mlmd.Execution(type_id=kind, last_known_state=mlmd.Execution.FAILED)
        self._store.put_execution(failed, [], [run, self._node_context(node)])

    def _node_context(self, node: str) -> mlmd.Context:
        if node not in self._nodes:
            context = mlmd.Context(type_id=self._node, name=f"dog-emotion.{node}")
            (context.id,) = self._store.put_contexts([context])
            self._nodes[node] = context
        return self._nodes[node]


def _describe(
    each: mlmd.Context | mlmd.Artifact | mlmd.Execution, properties: dict[str, Any]
) -> None:
    for name, value in properties.items():
        match value:
            case int():
                each.custom_properties[name].int_value = value
            case float():
                each.custom_properties[name].double_value = value
            case _:
                each.custom_properties[name].string_value = value
