"""One run of a compiled pipeline on this machine: what is the same for each platform."""

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from data.contract import verdict
from data.contract.errors import Exit
from data.contract.nodes import MODEL_GATE
from pipeline.cluster.executions import Artifacts, Execution, TaskError, sizes, write_record
from pipeline.cluster.gate_tasks import IF_BLOCKED, BlockedError
from pipeline.cluster.process_group import process_group
from pipeline.cluster.spec import Spec

_LOG_LINES = 30
LOG = "task.log"


class SpecRun(ABC):
    """One run of all tasks; a platform's own class says what a task is told, and what of it."""

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        values: Mapping[str, str],
        before: Sequence[Execution],
        commands: Path,
    ) -> None:
        """Prepares a run.

        Args:
            spec: the compiled pipeline.
            folder: the run's own, named by its number.
            values: the parameters of the run.
            before: the tasks of earlier runs, the oldest first.
            commands: the folder of `python` and the other commands of the tasks.
        """
        self._spec = spec
        self._folder = folder
        self._values = values
        self._before = before
        self._commands = commands
        self.done: dict[str, Execution] = {}

    def execute(self, name: str) -> Execution:
        """Runs a task whose upstream tasks are done, or finds what it made in an earlier run.

        A task whose condition does not hold is skipped.

        Raises:
            TaskError: the task failed.
            BlockedError: it was the gate, which blocked the model.
        """
        folder = self._folder / name
        folder.mkdir()
        if self._is_triggered(name):
            execution = self._perform(name, folder)
        else:
            execution = Execution(name, "skipped", key="", outputs={})
        self.done[name] = execution
        write_record(execution, folder)
        return execution

    @abstractmethod
    def _prepare(self, name: str, folder: Path) -> tuple[Any, list[Any]]:
        """Makes the ExecutorInput of a task.

        Returns:
            The ExecutorInput, and the resources that this took of processes.
        """

    @abstractmethod
    def _key(self, name: str, invocation: Any) -> str:
        """What the outputs of a task depend on."""

    @abstractmethod
    def _launch(
        self, name: str, folder: Path, invocation: Any
    ) -> tuple[Any, Artifacts, dict[str, Any]]:
        """Runs the container of a task.

        Returns:
            The resources that it used, its output artifacts and its output parameters.
        """

    def _perform(self, name: str, folder: Path) -> Execution:
        started = time.monotonic()
        invocation, used = self._prepare(name, folder)
        key = self._key(name, invocation)
        if self._spec.task(name).caching_options.enable_cache:
            for earlier in reversed(self._before):
                if earlier.key == key and earlier.is_whole():
                    return Execution(
                        name,
                        "cached",
                        key,
                        earlier.outputs,
                        earlier.parameters,
                        seconds=time.monotonic() - started,
                        files=earlier.files,
                    )
        usage, outputs, parameters = self._launch(name, folder, invocation)
        used.append(usage)
        return Execution(
            name,
            "run",
            key,
            outputs,
            parameters,
            files=sizes(outputs),
            seconds=time.monotonic() - started,
            cpu_seconds=sum(usage.ru_utime + usage.ru_stime for usage in used),
            peak_mb=max(usage.ru_maxrss for usage in used) / 1024,
        )

    def _is_triggered(self, name: str) -> bool:
        """Whether a task has no condition, or the one that there is holds."""
        if self._spec.task(name).trigger_policy.condition != IF_BLOCKED:
            return True
        told = pipeline_spec_pb2.ExecutorInput()
        self._give_parameters(name, told)
        return bool(told.inputs.parameter_values[verdict.VERDICT].string_value != verdict.PASSED)

    def _give_parameters(self, name: str, invocation: Any) -> None:
        """Tells the input parameters of a task."""
        for key, given in self._spec.task(name).inputs.parameters.items():
            value = invocation.inputs.parameter_values[key]
            if given.HasField("task_output_parameter"):
                source = given.task_output_parameter
                found = self.done[source.producer_task].parameters[source.output_parameter_key]
                json_format.ParseDict(found, value)
            elif given.component_input_parameter:
                value.string_value = self._values[given.component_input_parameter]
            else:
                value.CopyFrom(given.runtime_value.constant)

    def _input(self, given: Any) -> list[Any]:
        """The artifacts that an input of a task consists of."""
        source = given.task_output_artifact
        return self.done[source.producer_task].outputs[source.output_artifact_key]

    def _start(
        self,
        command: Sequence[str],
        invocation: Any,
        name: str,
        folder: Path,
        variables: Mapping[str, str],
    ) -> Any:
        """Runs a command in a process of its own, which sees only the image's environment.

        Returns:
            The resources it used, from `os.wait4`.

        Raises:
            TaskError: it failed.
        """
        home, log = folder / "home", folder / LOG
        home.mkdir(exist_ok=True)
        whole = json_format.MessageToJson(invocation, indent=None)
        environment = {
            "PATH": f"{self._commands}{os.pathsep}{os.defpath}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")},
            **variables,
        }
        told = [argument.replace("{{$}}", whole) for argument in command]
        with (
            log.open("ab") as output,
            process_group(told, cwd=home, env=environment, stdout=output, stderr=output) as process,
        ):
            _, status, usage = os.wait4(process.pid, 0)
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


def read_output(name: str, invocation: Any) -> Any:
    """The ExecutorOutput that a task wrote.

    Raises:
        TaskError: it wrote none, or something else.
    """
    file = Path(invocation.outputs.output_file)
    try:
        return json_format.Parse(file.read_text(), pipeline_spec_pb2.ExecutorOutput())
    except FileNotFoundError:
        raise TaskError(f"task {name} ended well, but has not written {file}") from None
    except (ValueError, json_format.ParseError) as error:
        reason = str(error).splitlines()[0]
        raise TaskError(f"task {name}: {file} is no ExecutorOutput: {reason}") from None


def canonical(*parts: Any) -> str:
    """Messages and JSON values as one text, always the same."""
    return json.dumps(
        [
            part if isinstance(part, str | list | dict) else json_format.MessageToDict(part)
            for part in parts
        ],
        sort_keys=True,
    )
