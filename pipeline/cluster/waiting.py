"""Waiting for a run elsewhere, with the states of its tasks as they change."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from data.contract.errors import UserError
from data.contract.nodes import MODEL_GATE, VERDICT
from pipeline.cluster.gate_tasks import BlockedError
from pipeline.cluster.refusals import OutOfReachError

SUCCEEDED, FAILED = "succeeded", "failed"
NOT_STARTED = "failed to start"
"""The state of a task that the platform failed to run at all."""

_ENDED = {SUCCEEDED, FAILED, "cancelled", "canceled", "skipped", "error"}
"""States in which a run stays; Kubeflow Pipelines and Vertex AI do not spell them alike."""

_SECONDS = 15.0
_MOST_IN_VAIN = 20
"""How often in a row the platform may be out of reach."""


class RunFailedError(UserError):
    """A run elsewhere has not come to its end; the message names the tasks that failed."""


@dataclass(frozen=True)
class RunState:
    """How a run is doing, in the platform's words, in small letters."""

    run: str
    tasks: Mapping[str, str]
    """Those that have begun, by name."""
    error: str = ""


def wait(
    look: Callable[[], RunState],
    tasks: Sequence[str],
    report: Callable[[str, str], None],
    warn: Callable[[str], None],
) -> None:
    """Returns when the run has succeeded.

    Args:
        look: asks the platform.
        tasks: the run's; others that the platform knows are its own affair.
        report: is told the task and the state each time that one has changed.
        warn: is told when the platform is out of reach, which does not end the waiting at once.

    Raises:
        BlockedError: the gate's task, begun for blocked models alone, failed, and no other did.
        RunFailedError: the run has failed, or somebody has ended it.
        SubmitError: the platform was out of reach for minutes, or refuses to answer.
    """
    known: dict[str, str] = {}
    in_vain = 0
    while True:
        try:
            state = look()
        except OutOfReachError as error:
            in_vain += 1
            if in_vain == _MOST_IN_VAIN:
                raise
            if in_vain == 1:
                warn(f"{error}; asking again")
        else:
            in_vain = 0
            for task in tasks:
                now = state.tasks.get(task, "")
                if now and now != known.get(task):
                    known[task] = now
                    report(task, now)
            if state.run in _ENDED:
                _conclude(state, tasks)
                return
        time.sleep(_SECONDS)


def _conclude(state: RunState, tasks: Sequence[str]) -> None:
    if state.run == SUCCEEDED:
        return
    failed = [task for task in tasks if state.tasks.get(task) in (FAILED, NOT_STARTED)]
    if failed == [MODEL_GATE] and state.tasks[MODEL_GATE] == FAILED:
        # It was begun, which it is only where the verdict says so, whatever became of its pod.
        raise BlockedError(f"{MODEL_GATE} failed: see {VERDICT}; nothing was pushed")
    what = f"the run is {state.run}" if state.run != FAILED else "the run failed"
    where = f"; {', '.join(failed)} failed" if failed else ""
    error = " ".join(state.error.split())[:500]
    raise RunFailedError(f"{what}{where}{f': {error}' if error else ''}")
