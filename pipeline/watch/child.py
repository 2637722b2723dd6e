"""A run in a process of its own: its memory is returned, and its end is not that of the watch."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_COMMAND = "import sys; from pipeline.cli import main; sys.exit(main())"
_PR_SET_PDEATHSIG = 1
"""Of Linux's <sys/prctl.h>."""


@dataclass(frozen=True)
class Ending:
    """How a command has ended."""

    status: int
    """As in `Exit`; negative if a signal has ended it."""
    message: str
    """The last line that it complained in, without its name."""


def run_command(arguments: Sequence[str]) -> Ending:
    """Runs `dog-emotion` to its end; what it says appears here.

    Whatever ends this process ends that one, too: it goes on if it is started again.

    Args:
        arguments: the command line without the program's name.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for the watch, which knows how to end a run
        preexec_fn=_end_with_parent,
    )
    assert process.stderr
    last = ""
    try:
        for line in process.stderr:
            sys.stderr.write(line)
            last = line.strip() or last
        return Ending(process.wait(), last.removeprefix("dog-emotion: "))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # interrupted, it might count as failed
            process.wait()


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
