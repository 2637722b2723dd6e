"""The last line of a terminal, kept up to date while work goes on.

It stands in for standard output, so that whatever is printed meanwhile appears above it.
"""

import io
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import TextIO

from data.contract.progress import watched_by

REDRAWN_AFTER = 0.5
"""Seconds after which the line is redrawn when nothing happens: the time passes."""
FASTEST = 0.1
"""Seconds between two drawings."""
WINDOW = 20.0
"""Seconds over which the rate is measured: it changes, as when what is kept comes first."""

_TO_THE_START, _CLEAR = "\r", "\x1b[K"


@dataclass
class Pace:
    """How fast something is done, from when how much of it was."""

    _marks: deque[tuple[float, int]] = field(default_factory=deque)

    def mark(self, now: float, done: int) -> None:
        """Notes that so much is done.

        Args:
            now: seconds on any clock that only goes forward.
            done: how many, not fewer than before.
        """
        marks = self._marks
        if len(marks) > 1 and now - marks[-2][0] < FASTEST:
            marks.pop()
        marks.append((now, done))
        while len(marks) > 2 and marks[1][0] <= now - WINDOW:
            marks.popleft()

    def describe(self, now: float, done: int, total: int) -> str:
        """The rate and the time left, in words; empty while neither is known."""
        (since, before), (until, _) = self._marks[0], self._marks[-1]
        if done == before or until == since:
            return ""
        each = (until - since) / (done - before)
        rate = f"{1 / each:,.0f}/s" if each < 0.5 else f"{in_words(each)} each"
        left = max(0.0, each * (total - done) - (now - until))
        return f", {rate}, {in_words(left)} left" if done < total else f", {rate}"


def in_words(seconds: float) -> str:
    """A time as people say it: 1.2 s, 34 s, 2 min 05 s, 1 h 20 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class LiveLine(io.TextIOBase):
    """A stream whose last line is redrawn in place.

    Only `begin` and `count` make it show something. Safe to use from any thread.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._lock = threading.RLock()
        self._unfinished = ""
        self._head: str | None = None
        self._head_is_printed = False
        self._began = self._drawn = 0.0
        self._label, self._done, self._total = "", 0, 0
        self._pace = Pace()
        self._finished = threading.Event()
        self._clock = threading.Thread(target=self._keep_time, daemon=True, name="live-line")
        self._clock.start()

    def begin(self, head: str) -> None:
        """Starts a line, which is kept up to date until `end`."""
        with self._lock:
            self.end()
            self._head, self._head_is_printed = head, False
            self._began = time.monotonic()
            self._draw()

    def count(self, label: str, done: int, total: int) -> None:
        """Shows how far it is; a line of its own, if none has begun."""
        with self._lock:
            now = time.monotonic()
            if self._head is None:
                self.begin(label)
            if done < self._done or total != self._total:
                self._pace = Pace()
                self._pace.mark(now, done)
            self._label, self._done, self._total = label, done, total
            self._pace.mark(now, done)
            if self._is_alone() and done >= total:
                self.end()
            elif now - self._drawn >= FASTEST:
                self._draw()

    def end(self) -> None:
        """Leaves the line as it is, with the seconds that it took."""
        with self._lock:
            if self._head is not None:
                took = in_words(time.monotonic() - self._began)
                if self._is_alone():
                    self._leave(f", {took}")
                else:
                    self._leave(f"  took {took}" if self._head_is_printed else f"  {took}")

    def finish(self) -> None:
        """Leaves the line without seconds: what it was about did not end."""
        self._finished.set()
        self._clock.join()
        with self._lock:
            self._leave("")
            if self._unfinished:
                self.write("\n")

    def write(self, text: str) -> int:
        """Prints above the line, as soon as a line of it is whole."""
        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            if lines:
                self._clear()
                if self._head is not None and not (self._head_is_printed or self._is_alone()):
                    lines.insert(0, self._head)
                    self._head_is_printed = True
                self._terminal.write("".join(f"{line}\n" for line in lines))
                self._draw()
        return len(text)

    def flush(self) -> None:
        """Flushes what is printed."""
        with self._lock:
            self._terminal.flush()

    def isatty(self) -> bool:
        """Whether programs may draw on it: this one does already."""
        return False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the terminal."""
        return self._terminal.encoding

    def fileno(self) -> int:
        """That of the terminal."""
        return self._terminal.fileno()

    def _is_alone(self) -> bool:
        """Whether the line is about what is counted, and not about something around it."""
        return self._head is not None and self._head == self._label

    def _leave(self, tail: str) -> None:
        if self._head is None:
            return
        self._clear()
        head = "" if self._head_is_printed else self._head
        counted = self._counted() if self._is_alone() else ""
        if text := f"{head}{counted}{tail}":
            self._terminal.write(text + "\n")
        self._terminal.flush()
        self._head = None
        self._label, self._done, self._total = "", 0, 0

    def _draw(self) -> None:
        if self._head is None:
            self._terminal.flush()
            return
        now = self._drawn = time.monotonic()
        head = "" if self._head_is_printed else self._head
        if self._done >= self._total:
            status = f"  {in_words(now - self._began)}"
        else:
            label = "" if self._is_alone() else f"  {self._label.strip()}"
            pace = self._pace.describe(now, self._done, self._total)
            status = f"{label}{self._counted()}{pace}"
        columns = shutil.get_terminal_size().columns
        # A longer text would wrap, and only the last of its rows would be redrawn.
        self._terminal.write(f"{_TO_THE_START}{(head + status)[: columns - 1]}{_CLEAR}")
        self._terminal.flush()

    def _counted(self) -> str:
        return f" {self._done:,} of {self._total:,}"

    def _clear(self) -> None:
        if self._head is not None:
            self._terminal.write(_TO_THE_START + _CLEAR)

    def _keep_time(self) -> None:
        while not self._finished.wait(REDRAWN_AFTER):
            with self._lock:
                self._draw()


@contextmanager
def live_line() -> Iterator[LiveLine | None]:
    """Keeps a live line while the block runs, where standard output is a terminal that can.

    Elsewhere it does nothing, and gives None.
    """
    if not sys.stdout.isatty() or os.environ.get("TERM") in (None, "", "dumb"):
        yield None
        return
    line = LiveLine(sys.stdout)
    try:
        with watched_by(line.count), redirect_stdout(line):
            yield line
    finally:
        line.finish()
