"""The command that is told what a person should know of."""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

SECONDS = 60
"""That it may take."""


class What(StrEnum):
    """What a person is told of."""

    BLOCKED = "blocked"
    """The gate has not let a model through."""
    DATA_GATE = "data_gate"
    """The data gate has stopped a run: broken records, or photos unlike those before."""
    FAILED = "failed"


@dataclass(frozen=True)
class Event:
    """What has happened; the command gets it as a JSON object on its standard input."""

    event: What
    when: str
    """In UTC, as in 2026-01-31T12:00:00Z."""
    message: str
    exit_status: int
    photos: str
    workdir: str


def call_hook(command: Sequence[str], event: Event, complain: Callable[[object], None]) -> None:
    """Runs a command to tell someone; that it fails is complained of, and no more.

    Args:
        command: the program and its arguments.
        event: what it is told.
        complain: is told in a line if it fails.
    """
    try:
        told = json.dumps(asdict(event))
        done = subprocess.run(command, input=told, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        complain(f"the hook was not told of {event.event}: {error}")
        return
    if done.returncode:
        complain(f"the hook ended with {done.returncode} when it was told of {event.event}")
