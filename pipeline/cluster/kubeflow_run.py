"""A run of a compiled pipeline as on Kubeflow Pipelines: what its driver and its launcher do.

It was written from kubeflow/pipelines, backend/src/v2, of 2.5 to 2.17, which keep artifacts in ML
Metadata: `driver` (`provisionOutputs`, `resolveInputs`, `getFingerPrint`), `cacheutils`
(`GenerateCacheKey`), `metadata/converter.go` and `component/launcher_v2.go`. Where these versions
differ, it does what is harder on a task: logs are published, as is their default, and mounted
claims are a part of the cache's key.

There are no retries and no time-outs here, and nothing is mounted. In one thing it is stricter:
what has lost a file since is made again, where the driver would not look.
"""

import hashlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.cluster.executions import Artifacts, TaskError
from pipeline.cluster.kubeflow_task import FOLDERS, LAUNCHER_ROOT
from pipeline.cluster.spec_run import LOG, SpecRun, canonical, read_output

EXECUTOR_LOGS = "executor-logs"
"""The output that the driver adds to every task: a file, not a folder."""


class KubeflowRun(SpecRun):
    """One run of all tasks.

    What the bucket would hold is in the run's folder. A task gets copies, in folders which are the
    launcher's and which are gone when it has ended, as those of its pod would be.
    """

    def _prepare(self, name: str, folder: Path) -> tuple[Any, list[Any]]:
        """The driver: resolves the inputs, and says where the outputs go."""
        task, definitions = self._spec.task(name), self._spec.component(name).output_definitions
        pod = folder / "pod"
        told = pipeline_spec_pb2.ExecutorInput()
        self._give_parameters(name, told)
        for key, given in task.inputs.artifacts.items():
            told.inputs.artifacts[key].artifacts.extend(
                self._as_input(each) for each in self._input(given)
            )
        for key, definition in definitions.artifacts.items():
            output = told.outputs.artifacts[key].artifacts.add(
                uri=self._remote(folder / key), type=definition.artifact_type
            )
            if definition.HasField("metadata"):
                output.metadata.CopyFrom(definition.metadata)
        logs = told.outputs.artifacts[EXECUTOR_LOGS].artifacts.add(
            uri=self._remote(folder / EXECUTOR_LOGS)
        )
        logs.type.schema_title = "system.Artifact"
        for key in definitions.parameters:
            told.outputs.parameters[key].output_file = f"{pod}/tmp/kfp/outputs/{key}"
        told.outputs.output_file = f"{pod}/tmp/kfp_outputs/output_metadata.json"
        return told, []

    def _key(self, name: str, invocation: Any) -> str:
        """The driver's: of input artifacts it takes the ids, of outputs all but the places."""
        container = self._spec.executor(name).container
        outputs = {
            key: [_without_place(each) for each in made.artifacts]
            for key, made in invocation.outputs.artifacts.items()
        }
        types = self._spec.component(name).output_definitions.parameters
        text = canonical(
            self._spec.pipeline.pipeline_info.name,
            {key: [each.name for each in given.artifacts] for key, given in _inputs(invocation)},
            {
                key: json_format.MessageToDict(value)
                for key, value in invocation.inputs.parameter_values.items()
            },
            outputs,
            {key: definition.parameter_type for key, definition in types.items()},
            container.image,
            [*container.command, *container.args],
            sorted(self._spec.claims(name)),
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _launch(
        self, name: str, folder: Path, invocation: Any
    ) -> tuple[Any, Artifacts, dict[str, Any]]:
        """The launcher: copies the inputs, runs the container, copies the outputs."""
        pod = folder / "pod"
        container = self._spec.executor(name).container
        try:
            (pod / "tmp").mkdir(parents=True)
            for _, given in _inputs(invocation):
                for each in given.artifacts:
                    _copy(self._stored(each.uri), _local(pod, each.uri))
            for each in _made(invocation):
                _local(pod, each.uri).parent.mkdir(parents=True, exist_ok=True)
            for parameter in invocation.outputs.parameters.values():
                Path(parameter.output_file).parent.mkdir(parents=True, exist_ok=True)
            logs = _local(pod, self._remote(folder / EXECUTOR_LOGS))
            logs.touch()
            command = [*container.command, *container.args]
            variables = {LAUNCHER_ROOT: f"{pod}/"}
            usage = self._start(command, invocation, name, folder, variables)
            logs.write_bytes((folder / LOG).read_bytes())
            said = read_output(name, invocation)
            for each in _made(invocation):
                _copy(_local(pod, each.uri), self._stored(each.uri))
            return usage, self._record(name, invocation, said), _parameters(name, invocation, said)
        finally:
            shutil.rmtree(pod, ignore_errors=True)

    def _record(self, name: str, invocation: Any, said: Any) -> Artifacts:
        """The output artifacts, as the launcher records what the task has said of them."""
        recorded: Artifacts = {}
        for key, made in invocation.outputs.artifacts.items():
            (artifact,) = made.artifacts
            metadata = json_format.MessageToDict(artifact.metadata)
            for each in said.artifacts[key].artifacts[:1] if key in said.artifacts else ():
                if each.uri not in ("", artifact.uri):
                    raise TaskError(
                        f"task {name} says that its output {key} is at {each.uri}, not at "
                        f"{artifact.uri}, where it belongs"
                    )
                metadata |= json_format.MessageToDict(each.metadata)
            stored = pipeline_spec_pb2.RuntimeArtifact(
                name=str(self._next_id() + len(recorded)),
                uri=str(self._stored(artifact.uri)),
                type=artifact.type,
            )
            stored.metadata.update(
                {
                    "display_name": key,
                    "store_session_info": "{}",
                    **{
                        field: _as_property(name, key, field, value)
                        for field, value in metadata.items()
                    },
                }
            )
            recorded[key] = [stored]
        return recorded

    def _next_id(self) -> int:
        """The first number that no artifact has."""
        executions = itertools.chain(self._before, self.done.values())
        names = (
            each.name
            for execution in executions
            for each in itertools.chain(*execution.outputs.values())
        )
        return max((int(name) for name in names if name.isdecimal()), default=0) + 1

    def _as_input(self, stored: Any) -> Any:
        """An artifact as the driver tells it: named by its id, without its type."""
        told = pipeline_spec_pb2.RuntimeArtifact(
            name=stored.name, uri=self._remote(Path(stored.uri)), metadata=stored.metadata
        )
        told.type.instance_schema = ""
        return told

    @property
    def _bucket(self) -> str:
        """What the folder of runs is called in the bucket."""
        pipeline = self._spec.pipeline
        return f"{pipeline.default_pipeline_root.rstrip('/')}/{pipeline.pipeline_info.name}"

    def _remote(self, stored: Path) -> str:
        """Where something in the folder of runs would lie in the bucket."""
        # The folder may be known under another name than in the run before.
        within = stored.resolve().relative_to(self._folder.parent.resolve())
        return f"{self._bucket}/{within}"

    def _stored(self, uri: str) -> Path:
        """Where something of the bucket lies on this machine."""
        return self._folder.parent / uri.removeprefix(f"{self._bucket}/")


def _inputs(invocation: Any) -> Iterator[tuple[str, Any]]:
    yield from sorted(invocation.inputs.artifacts.items())


def _made(invocation: Any) -> Iterator[Any]:
    for _, made in sorted(invocation.outputs.artifacts.items()):
        yield from made.artifacts


def _without_place(artifact: Any) -> dict[str, Any]:
    values = json_format.MessageToDict(artifact)
    del values["uri"]
    return dict(values)


def _local(pod: Path, uri: str) -> Path:
    """Where the launcher keeps something of a bucket within a pod."""
    scheme, colon, rest = uri.partition("://")
    return pod / FOLDERS[scheme + colon] / rest


def _copy(source: Path, target: Path) -> None:
    """Copies a file, or the files of a folder: a bucket knows no empty folders."""
    found = [each for each in source.rglob("*") if each.is_file()] if source.is_dir() else [source]
    for file in filter(Path.exists, found):
        copied = target / file.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)


def _parameters(name: str, invocation: Any, said: Any) -> dict[str, Any]:
    """The output parameters that the component declares."""
    missing = sorted(invocation.outputs.parameters.keys() - said.parameter_values.keys())
    if missing:
        raise TaskError(f"task {name} has not said its output parameter {missing[0]}")
    return {
        key: json_format.MessageToDict(said.parameter_values[key])
        for key in invocation.outputs.parameters
    }


def _as_property(name: str, key: str, field: str, value: Any) -> Any:
    """A value of an artifact's metadata, as it comes back from ML Metadata."""
    match value:
        case None:
            raise TaskError(
                f"task {name} says that {field} of its output {key} is null, which Kubeflow "
                "Pipelines does not take"
            )
        case bool():
            return float(value)
        case list():
            return {"list": value}
        case dict():
            return {"struct": value}
    return value
