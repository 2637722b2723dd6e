"""The watch itself: it looks, runs what is due, and tells whom it concerns."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data.contract.errors import Exit, UserError
from data.contract.feedback import now
from data.contract.nodes import DATA_GATE
from pipeline.watch.backlog import Backlog, LastRun, read_backlog
from pipeline.watch.child import Ending, run_command
from pipeline.watch.hook import Event, What, call_hook
from pipeline.workdir import Workdir


@dataclass(frozen=True)
class Terms:
    """When there is a run, and who is told."""

    enough: int
    """New photos that are worth a run."""
    days: float
    """After which one of them is."""
    settled_seconds: float
    """For which a photo has not changed when it is counted."""
    every_seconds: float
    """Between two looks."""
    hook: Sequence[str] | None
    """The command that is told; None if nobody is."""


KILLS = 3
"""In a row, after which a run counts as failed: what kills it is no accident."""


@dataclass(frozen=True)
class _Failure:
    """A run that has come to nothing."""

    when: datetime
    """It began, with a time zone."""
    tried: frozenset[str]
    """The photos that it was for."""
    last: LastRun | None
    """The newest run on the disk when it ended; once there is another, that one counts."""


class Watch:
    """Looks after a folder of photos.

    What has been done is read from the disk each time. Only a run that has failed is remembered, as
    it may have left nothing there: the next one is for further photos, or after the days.

    Args:
        photos: class folders, or a CSV table of path,label.
        workdir: of the runs; the caller keeps other watches out.
        arguments: of `dog-emotion` for a run.
        terms: when there is one.
        complain: is told in a line what is wrong.
    """

    def __init__(
        self,
        photos: Path,
        workdir: Workdir,
        arguments: Sequence[str],
        terms: Terms,
        complain: Callable[[object], None],
    ) -> None:
        self._photos, self._workdir, self._arguments = photos, workdir, arguments
        self._terms, self._complain = terms, complain
        self._failure: _Failure | None = None
        self._kills = 0
        self._complained = ""

    def once(self) -> int:
        """Looks once, and runs if that is due.

        Returns:
            The status of the run, as in `Exit`; that all is done if there was none.

        Raises:
            UserError: it cannot look.
        """
        with self._workdir.locked():
            backlog = self._read()
        began = datetime.now(UTC)
        if not self._is_due(backlog, began):
            return Exit.DONE
        print(f"watch     {_describe(backlog)}", flush=True)
        ending = run_command(self._arguments)
        left = self._read()
        self._kills = self._kills + 1 if ending.status < 0 else 0
        goes_on = ending.status < 0 and self._kills < KILLS
        failed = ending.status not in (Exit.DONE, Exit.BLOCKED) and not goes_on
        self._failure = _Failure(began, backlog.new, left.last) if failed else None
        if (what := _what(ending, backlog, left)) is not None:
            self._tell(what, ending)
        return ending.status if ending.status >= 0 else Exit.FAILED

    def always(self) -> None:
        """Looks again and again, until it is interrupted."""
        while True:
            try:
                self.once()
                self._complained = ""
            except UserError as error:  # another run is in the folder, or a disk is out of reach
                if str(error) != self._complained:
                    self._complain(f"{error}; looking again")
                self._complained = str(error)
            time.sleep(self._terms.every_seconds)

    def _read(self) -> Backlog:
        return read_backlog(self._photos, self._workdir, self._terms.settled_seconds)

    def _is_due(self, backlog: Backlog, now: datetime) -> bool:
        failure = self._failure
        if failure is not None and failure.last == backlog.last:
            backlog = backlog.without(failure.tried, failure.when)
        return backlog.is_due(self._terms.enough, self._terms.days, now)

    def _tell(self, what: What, ending: Ending) -> None:
        message = ending.message or f"the run has ended with {ending.status}"
        print(f"watch     {what}: {message}", flush=True)
        if self._terms.hook:
            event = Event(
                what, now(), message, ending.status, str(self._photos), str(self._workdir.root)
            )
            call_hook(self._terms.hook, event, self._complain)


def _what(ending: Ending, before: Backlog, after: Backlog) -> What | None:
    """What a person should know; None if all is well."""
    if ending.status == Exit.DONE:
        return None
    if ending.status == Exit.BLOCKED:
        return What.BLOCKED
    last = after.last
    if last and last != before.last and DATA_GATE in last.failed_nodes:
        return What.DATA_GATE
    return What.FAILED


def _describe(backlog: Backlog) -> str:
    last = f"the last run began at {backlog.last.when:%Y-%m-%d %H:%M} UTC" if backlog.last else ""
    if backlog.last and backlog.last.ended != "whole":
        last += ", and its end is: " + backlog.last.ended
    return f"{len(backlog.new):,} new photos; {last or 'nothing has run here'}"
