"""A compiled pipeline, read from a file and checked against the messages of Kubeflow Pipelines."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from data.contract.errors import UsageError
from data.contract.nodes import MODEL_GATE, PUSHER
from pipeline.cluster.gate_tasks import IF_BLOCKED
from pipeline.cluster.kubeflow_task import FOLDERS

DATA_ROOT = "data_root"
PUSH_DESTINATION = "push_destination"
"""The parameters of a run, besides the pipeline root, which the platforms know themselves."""

PUSHED_MODEL = "pushed_model"
"""The output of the Pusher."""

KUBEFLOW_TASK = "pipeline.cluster.kubeflow_task"
"""The module that every task of TFX runs there."""

PLATFORM_SPEC = "platformSpec"
"""The key of the PlatformSpec beside a PipelineSpec."""
KUBERNETES = "kubernetes"
"""The platform, as a PlatformSpec names it."""

_SCHEMA_VERSION = "2.1.0"
_MOST_BYTES = 10_000_000


class SpecError(UsageError):
    """The file is not a pipeline spec that could run; the message names the file and the place."""


@dataclass(frozen=True)
class Spec:
    """A pipeline spec whose tasks, components and executors belong together."""

    pipeline: Any
    """A kfp PipelineSpec."""
    deployment: Any
    """A kfp PipelineDeploymentConfig."""
    platform: Any
    """A kfp PlatformSpec: what Kubernetes is asked for, if anything."""
    order: tuple[str, ...]
    """The tasks, each after those it depends on."""

    def task(self, name: str) -> Any:
        """The PipelineTaskSpec: where the inputs come from."""
        return self.pipeline.root.dag.tasks[name]

    def component(self, name: str) -> Any:
        """The ComponentSpec of a task: the types of its inputs and outputs."""
        return self.pipeline.components[self.task(name).component_ref.name]

    def executor(self, name: str) -> Any:
        """The ExecutorSpec of a task: a container or a resolver."""
        return self.deployment.executors[self.component(name).executor_label]

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters of a run and their defaults."""
        definitions = self.pipeline.root.input_definitions.parameters
        return {name: each.default_value.string_value for name, each in definitions.items()}

    @property
    def documents(self) -> list[dict[str, Any]]:
        """What the YAML that Kubeflow Pipelines' client takes consists of."""
        parts = [self.pipeline, *([self.platform] if self.platform.platforms else [])]
        return [json_format.MessageToDict(part) for part in parts]

    def claims(self, name: str) -> list[str]:
        """The PersistentVolumeClaims that a task has mounted on Kubernetes."""
        return [mount["constant"] for mount in self._pvc_mounts(name)]

    @property
    def mounts(self) -> list[str]:
        """The folders where volumes are mounted, into all tasks alike."""
        return sorted(
            {mount["mountPath"] for name in self.order for mount in self._pvc_mounts(name)}
        )

    def _pvc_mounts(self, name: str) -> list[dict[str, str]]:
        label = self.component(name).executor_label
        configs = (
            json_format.MessageToDict(found.deployment_spec.executors[label])
            for found in self.platform.platforms.values()
            if label in found.deployment_spec.executors
        )
        return [mount for config in configs for mount in config.get("pvcMount", [])]

    @property
    def tells_if_blocked(self) -> bool:
        """Whether ModelGate fails where the model is blocked, and is not begun elsewhere."""
        return (
            MODEL_GATE in self.order
            and self.task(MODEL_GATE).trigger_policy.condition == IF_BLOCKED
        )

    @property
    def needs_vertex(self) -> bool:
        """Whether it holds something that Kubeflow Pipelines does not run."""
        executors = self.deployment.executors.values()
        return any(
            each.HasField("resolver") or each.container.HasField("lifecycle") for each in executors
        )

    @property
    def needs_kubeflow(self) -> bool:
        """Whether it holds a command that only Kubeflow Pipelines' launcher answers to."""
        executors = self.deployment.executors.values()
        return any(KUBEFLOW_TASK in each.container.command for each in executors)


def read_spec(file: Path) -> Spec:
    """Reads what `compile` wrote, JSON or YAML by its suffix.

    Raises:
        SpecError: it cannot be read, or is not a pipeline spec that could run.
    """
    return parse_spec(read_values(file), file)


def require_ours(spec: Spec, file: Path) -> None:
    """Refuses a spec of another pipeline, which nothing here could run or tell the result of.

    Raises:
        SpecError: the message names what it lacks.
    """
    for parameter in (DATA_ROOT, PUSH_DESTINATION):
        if parameter not in spec.parameters:
            raise _stranger(file, f"a parameter {parameter}")
    pushed = spec.component(PUSHER).output_definitions.artifacts if PUSHER in spec.order else ()
    if PUSHED_MODEL not in pushed:
        raise _stranger(file, f"a task {PUSHER} with an output {PUSHED_MODEL}")
    for name in spec.order:
        executor = spec.executor(name)
        if not executor.container.command and not executor.HasField("resolver"):
            raise _stranger(file, f"a command for task {name}")
        if spec.task(name).trigger_policy.condition not in ("", IF_BLOCKED):
            raise _stranger(file, f"a condition that is known for task {name}")
    if spec.needs_kubeflow and spec.needs_vertex:
        raise _stranger(file, "one platform for all of its tasks")
    if spec.needs_kubeflow and not spec.pipeline.default_pipeline_root.startswith(tuple(FOLDERS)):
        raise _stranger(file, f"a defaultPipelineRoot in {' or '.join(FOLDERS)}")


def _stranger(file: Path, lacking: str) -> SpecError:
    return SpecError(f"{file}: `dog-emotion compile` has not written this: it lacks {lacking}")


def parse_spec(values: Mapping[str, Any], file: Path) -> Spec:
    """Checks a PipelineJob or a PipelineSpec, given as JSON values.

    Args:
        values: what is in the file; beside a PipelineSpec under `pipelineSpec`, there may be a
            PlatformSpec under `platformSpec`.
        file: for messages.

    Raises:
        SpecError: it has a field that the messages lack, or tasks, components and executors that
            do not belong together.
    """
    job = {key: value for key, value in values.items() if key != PLATFORM_SPEC}
    try:
        platform = json_format.ParseDict(
            values.get(PLATFORM_SPEC, {}), pipeline_spec_pb2.PlatformSpec()
        )
        if "pipelineSpec" in values:
            json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
            values = values["pipelineSpec"]
        pipeline = json_format.ParseDict(values, pipeline_spec_pb2.PipelineSpec())
        deployment = json_format.ParseDict(
            json_format.MessageToDict(pipeline.deployment_spec),
            pipeline_spec_pb2.PipelineDeploymentConfig(),
        )
    except json_format.ParseError as error:
        raise SpecError(f"{file}: not a pipeline spec: {str(error).splitlines()[0]}") from None
    if pipeline.schema_version != _SCHEMA_VERSION:
        raise SpecError(
            f"{file}: schemaVersion {pipeline.schema_version!r} is not {_SCHEMA_VERSION}"
        )
    tasks = pipeline.root.dag.tasks
    if not tasks:
        raise SpecError(f"{file}: the pipeline has no tasks")
    for name, task in tasks.items():
        _check_component(file, name, task, pipeline, deployment)
    for name, task in tasks.items():
        _check_inputs(file, name, task, pipeline)
    _check_platform(file, platform, deployment)
    try:
        # Neither the messages nor sets have a fixed order.
        graph = {name: sorted(upstream(tasks[name])) for name in sorted(tasks)}
        order = tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise SpecError(f"{file}: tasks wait for each other: {', '.join(error.args[1])}") from None
    return Spec(pipeline, deployment, platform, order)


def upstream(task: Any) -> set[str]:
    """The tasks that a PipelineTaskSpec depends on."""
    artifacts = (each.task_output_artifact for each in task.inputs.artifacts.values())
    parameters = (
        each.task_output_parameter
        for each in task.inputs.parameters.values()
        if each.HasField("task_output_parameter")
    )
    producers = (each.producer_task for each in itertools.chain(artifacts, parameters))
    return {*task.dependent_tasks, *producers}


def read_values(file: Path) -> dict[str, Any]:
    """What is in a file, as JSON values.

    Raises:
        SpecError: it cannot be read, or is no table of keys.
    """
    import yaml

    try:
        if file.stat().st_size > _MOST_BYTES:
            raise SpecError(f"{file}: not a pipeline spec: more than {_MOST_BYTES:,} bytes")
        text = file.read_text()
        values = json.loads(text) if file.suffix == ".json" else _read_yaml(text)
    except OSError as error:
        raise SpecError(f"{file}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise SpecError(f"{file}: neither JSON nor YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise SpecError(f"{file}: not a pipeline spec: it is not a table of keys")
    return values


def _read_yaml(text: str) -> Any:
    """A PipelineSpec, which a PlatformSpec may follow."""
    import yaml

    match list(yaml.safe_load_all(text)):
        case [spec, platform]:
            return {"pipelineSpec": spec, PLATFORM_SPEC: platform}
        case [alone]:
            return alone
        case _:
            return None


def _check_platform(file: Path, platform: Any, deployment: Any) -> None:
    for found in platform.platforms.values():
        for label in sorted(found.deployment_spec.executors):
            if label not in deployment.executors:
                raise SpecError(f"{file}: {label!r} is asked for on {KUBERNETES}, but is not there")


def _check_component(file: Path, name: str, task: Any, pipeline: Any, deployment: Any) -> None:
    component = task.component_ref.name
    if component not in pipeline.components:
        raise SpecError(f"{file}: task {name} names a component {component!r} that is not there")
    label = pipeline.components[component].executor_label
    if label not in deployment.executors:
        raise SpecError(f"{file}: task {name} has an executor {label!r} that is not there")


def _check_inputs(file: Path, name: str, task: Any, pipeline: Any) -> None:
    tasks = pipeline.root.dag.tasks
    for producer in sorted(upstream(task)):
        if producer not in tasks:
            raise SpecError(f"{file}: task {name} waits for {producer!r}, which is not there")
    for key, source in task.inputs.artifacts.items():
        wanted = source.task_output_artifact
        made = pipeline.components[tasks[wanted.producer_task].component_ref.name]
        if wanted.output_artifact_key not in made.output_definitions.artifacts:
            raise SpecError(
                f"{file}: input {key} of task {name} is {wanted.output_artifact_key!r} of "
                f"{wanted.producer_task}, which makes no such thing"
            )
    known = pipeline.root.input_definitions.parameters
    for key, given in task.inputs.parameters.items():
        if given.HasField("task_output_parameter"):
            wanted = given.task_output_parameter
            made = pipeline.components[tasks[wanted.producer_task].component_ref.name]
            if wanted.output_parameter_key not in made.output_definitions.parameters:
                raise SpecError(
                    f"{file}: parameter {key} of task {name} is {wanted.output_parameter_key!r} of "
                    f"{wanted.producer_task}, which makes no such thing"
                )
        if given.component_input_parameter and given.component_input_parameter not in known:
            raise SpecError(
                f"{file}: parameter {key} of task {name} is "
                f"{given.component_input_parameter!r} of the run, which is not there"
            )
