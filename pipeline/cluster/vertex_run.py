"""A run of a compiled pipeline as on Vertex AI: drivers in hooks, resolvers, artifacts in place."""

import hashlib
import re
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from pipeline.cluster.executions import Artifacts, Execution
from pipeline.cluster.spec_run import SpecRun, canonical, read_output

_INPUT_METADATA = re.compile(r"\{\{\$\.inputs\.artifacts\['(\w+)'\]\.metadata\['(\w+)'\]\}\}")


class VertexRun(SpecRun):
    """One run of all tasks. Vertex AI's own code is not public: this is what TFX relies on."""

    def _perform(self, name: str, folder: Path) -> Execution:
        if self._spec.executor(name).HasField("resolver"):
            return Execution(name, "resolved", "", self._resolve(name))
        return super()._perform(name, folder)

    def _prepare(self, name: str, folder: Path) -> tuple[Any, list[Any]]:
        invocation = self._invocation(name, folder)
        container = self._spec.executor(name).container
        used = []
        if container.HasField("lifecycle"):
            hook = container.lifecycle.pre_cache_check
            used.append(self._start([*hook.command, *hook.args], invocation, name, folder, {}))
            # Vertex AI Pipelines updates the task with what the driver says about it.
            found = read_output(name, invocation)
            for key, value in found.parameter_values.items():
                invocation.inputs.parameter_values[key].CopyFrom(value)
            _update_outputs(invocation, found)
        return invocation, used

    def _key(self, name: str, invocation: Any) -> str:
        """What the outputs depend on: the component, the container and all inputs."""
        text = canonical(self._spec.component(name), self._spec.executor(name), invocation.inputs)
        return hashlib.sha256(text.encode()).hexdigest()

    def _launch(
        self, name: str, folder: Path, invocation: Any
    ) -> tuple[Any, Artifacts, dict[str, Any]]:
        container = self._spec.executor(name).container
        usage = self._start([*container.command, *container.args], invocation, name, folder, {})
        output = read_output(name, invocation)
        _update_outputs(invocation, output)
        outputs = {key: list(made.artifacts) for key, made in invocation.outputs.artifacts.items()}
        parameters = {
            key: json_format.MessageToDict(value) for key, value in output.parameter_values.items()
        }
        return usage, outputs, parameters

    def _invocation(self, name: str, folder: Path) -> Any:
        """The ExecutorInput of a task."""
        task, component = self._spec.task(name), self._spec.component(name)
        invocation = pipeline_spec_pb2.ExecutorInput()
        self._give_parameters(name, invocation)
        for key, given in task.inputs.artifacts.items():
            invocation.inputs.artifacts[key].artifacts.extend(self._input(given))
        for key, definition in component.output_definitions.artifacts.items():
            (folder / key).mkdir()
            invocation.outputs.artifacts[key].artifacts.add(
                name=f"{self._folder.name}/{name}/{key}",
                uri=str(folder / key),
                type=definition.artifact_type,
                metadata=definition.metadata,
            )
        invocation.outputs.output_file = str(folder / "executor_output.json")
        return invocation

    def _resolve(self, name: str) -> Artifacts:
        """What the queries of a resolver find in the earlier runs, the newest first."""
        queries = self._spec.executor(name).resolver.output_artifact_queries
        inputs = {
            key: self._input(given) for key, given in self._spec.task(name).inputs.artifacts.items()
        }
        known = [
            artifact
            for execution in reversed(self._before)
            if execution.how == "run"
            for made in execution.outputs.values()
            for artifact in made
        ]
        return {
            key: next(([each] for each in known if _matches(each, query.filter, inputs)), [])
            for key, query in queries.items()
        }


def _update_outputs(invocation: Any, output: Any) -> None:
    for key, made in output.artifacts.items():
        (artifact,), (said,) = invocation.outputs.artifacts[key].artifacts, made.artifacts
        artifact.metadata.update(json_format.MessageToDict(said.metadata))


def _matches(artifact: Any, query: str, inputs: Artifacts) -> bool:
    """Whether an artifact passes a resolver's filter, in the form in which TFX writes it."""
    fields = {
        "schema_title": artifact.type.schema_title
        or yaml.safe_load(artifact.type.instance_schema)["title"],
        "state": "LIVE",
        "name": artifact.name,
    }
    metadata = json_format.MessageToDict(artifact.metadata)
    for clause in query.split(" AND "):
        field, _, wanted = clause.partition("=")
        if placeholder := _INPUT_METADATA.search(wanted):
            key, property_name = placeholder.groups()
            if not inputs[key]:
                return False
            wanted = str(json_format.MessageToDict(inputs[key][0].metadata)[property_name])
        wanted = wanted.strip('"')
        if field.startswith("metadata."):
            _, property_name, kind = field.split(".")
            found = metadata.get(property_name)
            if found is None or (float(wanted) if kind == "number_value" else wanted) != found:
                return False
        elif fields[field] != wanted:
            return False
    return True
