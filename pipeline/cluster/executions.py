"""What became of the tasks of compiled pipelines that ran on this machine, as their records say."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from data.contract.errors import UserError
from pipeline.artifacts import Sizes, file_sizes
from pipeline.workdir import write_atomically

_RECORD = "execution.json"

Artifacts = dict[str, list[Any]]
"""kfp RuntimeArtifacts by key; the URIs are paths on this machine."""


class TaskError(UserError):
    """A task failed; the message names it and its log, and quotes the end of the log."""


@dataclass(frozen=True)
class Execution:
    """What became of a task."""

    task: str
    how: str
    """`run`, `cached`, `resolved` or `skipped`."""
    key: str
    """Identifies all that the outputs depend on."""
    outputs: Artifacts
    parameters: dict[str, Any] = field(default_factory=dict)
    """The values of the output parameters."""
    seconds: float = 0
    cpu_seconds: float = 0
    peak_mb: float = 0
    """The largest resident set of one of its processes; Linux lets each begin with its parent's."""
    files: dict[str, Sizes] = field(default_factory=dict)
    """Of each output, by its path, when it was made."""

    def is_whole(self) -> bool:
        """Whether the outputs are as the task has left them."""
        return sizes(self.outputs) == self.files


def sizes(outputs: Artifacts) -> dict[str, Sizes]:
    """The files of each output that is there, by its path."""
    places = (Path(each.uri) for each in itertools.chain(*outputs.values()))
    return {str(place): _sizes_at(place) for place in places if place.exists()}


def _sizes_at(place: Path) -> Sizes:
    return file_sizes(place) if place.is_dir() else {place.name: place.stat().st_size}


def write_record(execution: Execution, folder: Path) -> None:
    """Writes what became of a task into its folder."""
    made = {
        key: [json_format.MessageToDict(each) for each in artifacts]
        for key, artifacts in execution.outputs.items()
    }
    text = json.dumps({**vars(execution), "outputs": made}, indent=2)
    write_atomically(folder / _RECORD, text)


def read_records(runs: Path) -> Iterator[Execution]:
    """Reads about every task that was completed, the oldest run first.

    Args:
        runs: the folder of runs, each named by its number and with a folder for each task.

    Raises:
        TaskError: a record is damaged, or the folder has been moved.
    """
    files = (file for file in runs.glob(f"*/*/{_RECORD}") if file.parts[-3].isdecimal())
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


def _new_artifact() -> Any:
    return pipeline_spec_pb2.RuntimeArtifact()
