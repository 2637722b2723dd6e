"""Runs a compiled pipeline on this machine, as Kubeflow Pipelines or Vertex AI would.

Each task's own container command runs in a process of its own, in an environment that holds what
the container image holds: the locked packages and our built wheel.
"""

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from data.contract.errors import Exit, UserError
from data.contract.model import MODEL_NAME, push_destination
from data.contract.nodes import MODEL_GATE
from pipeline.artifacts import Sizes, file_sizes
from pipeline.cluster.gate_tasks import BlockedError
from pipeline.cluster.spec import DATA_ROOT, PUSH_DESTINATION, Spec
from pipeline.code_hash import ROOT
from pipeline.workdir import write_atomically

_LOG_LINES = 30
_EXECUTION = "execution.json"
_INPUT_METADATA = re.compile(r"\{\{\$\.inputs\.artifacts\['(\w+)'\]\.metadata\['(\w+)'\]\}\}")

Artifacts = dict[str, list[Any]]
"""kfp RuntimeArtifacts by key."""


class TaskError(UserError):
    """A task failed; the message names it and its log, and quotes the end of the log."""


@dataclass(frozen=True)
class Execution:
    """What became of a task."""

    task: str
    how: str
    """`run`, `cached` or `resolved`."""
    key: str
    """Identifies all that the outputs depend on."""
    outputs: Artifacts
    seconds: float = 0
    cpu_seconds: float = 0
    peak_mb: float = 0
    """The largest resident set of one of its processes; Linux lets each begin with its parent's."""
    files: dict[str, Sizes] = field(default_factory=dict)
    """Of each output, by its path, when it was made."""


def make_image_environment() -> Path:
    """The environment that stands for the container image, made from the checkout if need be.

    Returns:
        Its folder of commands. Where there is no checkout, as in the image itself, it is this
        interpreter's.

    Raises:
        TaskError: it cannot be made; the reason has been printed.
    """
    install = ROOT / "requirements" / "install.py"
    if not install.is_file():
        return Path(sys.executable).parent
    environment = ROOT / ".venv-image"
    if subprocess.run([sys.executable, install, "--image", environment]).returncode:
        raise TaskError(f"{environment} could not be made")
    return environment / "bin"


def run_spec(
    spec: Spec,
    *,
    root: Path,
    data: Path,
    commands: Path,
    report: Callable[[int, int, Execution], None],
) -> list[Execution]:
    """Runs every task, from ImportExampleGen to Pusher.

    Args:
        spec: the compiled pipeline.
        root: the pipeline root; a run goes to `root`/runs/N, pushed models to
            `root`/serving/dog_emotion. Earlier runs are this one's cache, and the place where
            resolvers look.
        data: the folder of `span-N` folders, the parameter `data_root`.
        commands: the folder of `python` and the other commands of the tasks.
        report: is told after each task how many are done, of how many, and the task's execution.

    Returns:
        One execution for each task, in the order they ran.

    Raises:
        TaskError: a task failed, or the runs before cannot be relied on.
        BlockedError: the gate blocked the model.
    """
    root = root.absolute()
    values = {
        **spec.parameters,
        DATA_ROOT: str(data.absolute()),
        PUSH_DESTINATION: push_destination(str(root / "serving" / MODEL_NAME)),
    }
    before = list(_executions_below(root / "runs"))
    run = _Run(spec, _new_folder(root / "runs"), values, before, commands)
    for name in spec.order:
        execution = run.execute(name)
        report(len(run.done), len(spec.order), execution)
    return list(run.done.values())


def _new_folder(runs: Path) -> Path:
    """Makes `runs`/N, N being greater than all before."""
    runs.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name) for path in runs.iterdir() if path.name.isdecimal()]
    folder = runs / str(max(numbers, default=0) + 1)
    folder.mkdir()
    return folder


def _executions_below(runs: Path) -> Iterator[Execution]:
    """Every task that was completed, the oldest run first."""
    files = (file for file in runs.glob(f"*/*/{_EXECUTION}") if file.parts[-3].isdecimal())
    for file in sorted(files, key=lambda file: (int(file.parts[-3]), file.stat().st_mtime_ns)):
        try:
            values = json.loads(file.read_text())
            outputs = {
                key: [json_format.ParseDict(each, _new_artifact()) for each in made]
                for key, made in values.pop("outputs").items()
            }
            execution = Execution(**values, outputs=outputs)
        except (ValueError, TypeError, AttributeError, KeyError, json_format.ParseError):
            raise TaskError(
                f"{file} is damaged or of another version: delete {file.parents[1]} and run again"
            ) from None
        for artifact in itertools.chain(*outputs.values()):
            if not Path(artifact.uri).resolve().is_relative_to(runs.resolve()):
                raise TaskError(
                    f"{runs.parent} was moved or copied, {file} knows an artifact as "
                    f"{artifact.uri}: move it back, or delete {runs} and run again"
                )
        yield execution


class _Run:
    """One run of all tasks."""

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        values: Mapping[str, str],
        before: Sequence[Execution],
        commands: Path,
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._values = values
        self._before = before
        self._commands = commands
        self.done: dict[str, Execution] = {}

    def execute(self, name: str) -> Execution:
        """Runs a task whose upstream tasks are done, or finds what it made in an earlier run."""
        folder = self._folder / name
        folder.mkdir()
        if self._spec.executor(name).HasField("resolver"):
            execution = Execution(name, "resolved", "", self._resolve(name))
        else:
            execution = self._run(name, folder)
        self.done[name] = execution
        made = {
            key: [json_format.MessageToDict(each) for each in artifacts]
            for key, artifacts in execution.outputs.items()
        }
        text = json.dumps({**vars(execution), "outputs": made}, indent=2)
        write_atomically(folder / _EXECUTION, text)
        return execution

    def _run(self, name: str, folder: Path) -> Execution:
        started = time.monotonic()
        container = self._spec.executor(name).container
        invocation = self._invocation(name, folder)
        used: list[Any] = []
        if container.HasField("lifecycle"):
            hook = container.lifecycle.pre_cache_check
            used.append(self._start([*hook.command, *hook.args], invocation, name, folder))
            # Vertex AI Pipelines updates the task with what the driver says about it.
            found = _read_output(invocation)
            for key, value in found.parameter_values.items():
                invocation.inputs.parameter_values[key].CopyFrom(value)
            _update_outputs(invocation, found)
        key = self._key(name, invocation)
        if self._spec.task(name).caching_options.enable_cache:
            for earlier in reversed(self._before):
                if earlier.key == key and _all_there(earlier):
                    seconds = time.monotonic() - started
                    return Execution(
                        name, "cached", key, earlier.outputs, seconds, files=earlier.files
                    )
        used.append(self._start([*container.command, *container.args], invocation, name, folder))
        _update_outputs(invocation, _read_output(invocation))
        outputs = {key: list(made.artifacts) for key, made in invocation.outputs.artifacts.items()}
        return Execution(
            name,
            "run",
            key,
            outputs,
            files=_sizes(outputs),
            seconds=time.monotonic() - started,
            cpu_seconds=sum(usage.ru_utime + usage.ru_stime for usage in used),
            peak_mb=max(usage.ru_maxrss for usage in used) / 1024,
        )

    def _invocation(self, name: str, folder: Path) -> Any:
        """The ExecutorInput of a task."""
        task, component = self._spec.task(name), self._spec.component(name)
        invocation = pipeline_spec_pb2.ExecutorInput()
        for key, given in task.inputs.parameters.items():
            value = invocation.inputs.parameter_values[key]
            if given.component_input_parameter:
                value.string_value = self._values[given.component_input_parameter]
            else:
                value.CopyFrom(given.runtime_value.constant)
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

    def _input(self, given: Any) -> list[Any]:
        source = given.task_output_artifact
        return self.done[source.producer_task].outputs[source.output_artifact_key]

    def _key(self, name: str, invocation: Any) -> str:
        """What the outputs depend on: the component, the container and all inputs."""
        parts = (self._spec.component(name), self._spec.executor(name), invocation.inputs)
        text = json.dumps([json_format.MessageToDict(part) for part in parts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _start(self, command: Sequence[str], invocation: Any, name: str, folder: Path) -> Any:
        """Runs a command in a process of its own, which sees only the image's environment.

        Returns:
            The resources it used, from `os.wait4`.
        """
        home, log = folder / "home", folder / "task.log"
        home.mkdir(exist_ok=True)
        whole = json_format.MessageToJson(invocation, indent=None)
        environment = {
            "PATH": f"{self._commands}{os.pathsep}{os.defpath}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")},
        }
        with log.open("ab") as output:
            process = subprocess.Popen(
                [argument.replace("{{$}}", whole) for argument in command],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,  # together with all that it starts
            )
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            process.returncode = os.waitstatus_to_exitcode(status)
        if name == MODEL_GATE and process.returncode == Exit.BLOCKED:
            raise BlockedError
        if process.returncode:
            end = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            raise TaskError(
                f"task {name} failed with status {process.returncode}; the end of {log}:\n"
                + "\n".join(f"  {line[:500]}" for line in end)
            )
        return usage

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


def _read_output(invocation: Any) -> Any:
    """The ExecutorOutput that a task wrote."""
    text = Path(invocation.outputs.output_file).read_text()
    return json_format.Parse(text, pipeline_spec_pb2.ExecutorOutput())


def _update_outputs(invocation: Any, output: Any) -> None:
    for key, made in output.artifacts.items():
        (artifact,), (said,) = invocation.outputs.artifacts[key].artifacts, made.artifacts
        artifact.metadata.update(json_format.MessageToDict(said.metadata))


def _new_artifact() -> Any:
    return pipeline_spec_pb2.RuntimeArtifact()


def _all_there(execution: Execution) -> bool:
    """Whether the outputs of a task are as it has left them."""
    return _sizes(execution.outputs) == execution.files


def _sizes(outputs: Artifacts) -> dict[str, Sizes]:
    """The files of each output that is there, by its path."""
    folders = (Path(each.uri) for each in itertools.chain(*outputs.values()))
    return {str(folder): file_sizes(folder) for folder in folders if folder.exists()}


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
