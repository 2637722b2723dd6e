"""One command of the project as a process of its own, and what it took."""

import os
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

DOG_EMOTION = Path(sys.executable).with_name("dog-emotion")


@dataclass(frozen=True)
class Measured:
    """What one step took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def run_measured(*arguments: str | Path, accepted: Collection[int] = (0,)) -> Measured:
    """Runs `dog-emotion` to its end.

    Args:
        arguments: its own.
        accepted: exit statuses that are no failure.

    Raises:
        subprocess.CalledProcessError: it failed; it has printed why.
    """
    started = time.monotonic()
    process = subprocess.Popen([DOG_EMOTION, *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in accepted:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(time.monotonic() - started, cpu, usage.ru_maxrss / 1024)
