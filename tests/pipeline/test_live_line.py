"""The live line, on a terminal of its own and elsewhere."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data.contract.progress import tenths, watching
from pipeline.live_line import FASTEST, WINDOW, Pace, in_words, live_line

ROOT = Path(__file__).parents[2]
WIDTH = 60

PROGRAM = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits otherwise
from data.contract.progress import tenths
from pipeline.live_line import live_line
with live_line() as line:
    print("workdir   here")
    tell = tenths("photos    read")
    for done in range(1, 41):
        time.sleep(0.005)
        tell(done, 40)
    line and line.begin("[ 1/3] Quick")
    line and line.end()
    line and line.begin("[ 2/3] ActivationCache")
    tell = tenths("  activations")
    print("  activations: 1.2 GB")
    for done in range(20):
        time.sleep(0.02)
        tell(done, 1_000_000)
    line and line.end()
    line and line.begin("[ 3/3] Pusher with a name that is wider than the terminal " + 40 * ".")
    time.sleep(LAST)
print("done")
"""


class Terminal:
    """A program on a terminal, and what a person sees there."""

    def __init__(self, program: str, term: str = "xterm") -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": term, "COLUMNS": str(WIDTH)},
            start_new_session=True,
        )
        os.close(theirs)
        self.sent = ""

    def read_until(self, seen: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + 30
        while not seen(self.sent):
            assert time.monotonic() < deadline, self.sent
            self.sent += os.read(self._ours, 4096).decode()

    def wait(self) -> int:
        try:
            while True:
                self.sent += os.read(self._ours, 4096).decode()
        except OSError:  # the program has ended
            os.close(self._ours)
            return self.process.wait()

    @property
    def screen(self) -> list[str]:
        """What is left of each line after everything was drawn over it."""
        return [_drawn(line) for line in self.sent.replace("\r\n", "\n").split("\n")]


def _drawn(line: str) -> str:
    shown = ""
    for text in line.split("\r"):
        column = 0
        for index, part in enumerate(text.split("\x1b[K")):
            if index:
                shown = shown[:column]
            shown = shown[:column] + part + shown[column + len(part) :]
            column += len(part)
    return shown


def test_on_a_terminal_a_line_is_redrawn_and_stays_with_its_seconds() -> None:
    terminal = Terminal(PROGRAM.replace("LAST", "0"))
    assert terminal.wait() == 0
    patterns = (
        r"workdir   here",
        r"photos    read 40 of 40, 0\.\d s",
        r"\[ 1/3\] Quick  0\.\d s",
        r"\[ 2/3\] ActivationCache",
        r"  activations: 1\.2 GB",
        r"  took 0\.\d s",
        r"\[ 3/3\] Pusher with .*\.",  # whose end nobody told
        r"done",
        r"",
    )
    assert len(terminal.screen) == len(patterns), terminal.screen
    for line, pattern in zip(terminal.screen, patterns, strict=True):
        assert re.fullmatch(pattern, line), line
    assert re.search(r"\r  activations \d+ of 1,000,000, \d+/s, \d+ h \d\d min left", terminal.sent)
    drawn = re.findall(r"\r([^\r\n]*)\x1b\[K(?=[\r])", terminal.sent)
    assert drawn
    assert all(len(text) < WIDTH for text in drawn)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_draw_gets_plain_lines(term: str) -> None:
    terminal = Terminal(PROGRAM.replace("LAST", "0"), term)
    assert terminal.wait() == 0
    assert "\x1b" not in terminal.sent
    assert "\r" not in terminal.sent.replace("\r\n", "\n")
    assert terminal.screen[1] == "photos    read 4 of 40"


def test_elsewhere_there_are_plain_lines_without_control_characters() -> None:
    program = PROGRAM.replace("LAST", "0")
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    counts = [f"photos    read {4 * tenth} of 40" for tenth in range(1, 11)]
    assert shown.stdout.splitlines() == [
        "workdir   here", *counts, "  activations: 1.2 GB", "done"
    ]  # fmt: skip


def test_an_interruption_leaves_the_terminal_in_order() -> None:
    terminal = Terminal(PROGRAM.replace("LAST", "60"))
    terminal.read_until(lambda sent: "[ 3/3]" in sent)
    time.sleep(0.7)  # it is redrawn though nothing happens
    os.killpg(terminal.process.pid, signal.SIGINT)
    assert terminal.wait() != 0
    assert terminal.sent.count("[ 3/3]") > 2
    named = [line for line in terminal.screen if line.startswith("[ 3/3] Pusher")]
    assert len(named) == 1
    assert terminal.screen[-1] == ""
    assert terminal.screen[-2] == "KeyboardInterrupt"
    assert not re.search(r"\x1b(?!\[K)", terminal.sent)  # no mode was changed


def test_nobody_watches_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with live_line() as line:
        assert line is None
        assert watching() is None
        tenths("read")(1, 1)
    assert capsys.readouterr().out == "read 1 of 1\n"


def test_the_rate_is_that_of_late_and_the_time_left_passes() -> None:
    pace = Pace()
    pace.mark(0, 0)
    assert pace.describe(0, 0, 1000) == ""
    pace.mark(1, 500)
    assert pace.describe(1, 500, 1000) == ", 500/s, 1.0 s left"
    pace.mark(WINDOW + 10, 510)
    pace.mark(WINDOW + 20, 520)
    assert pace.describe(WINDOW + 20, 520, 1000).endswith("left")
    pace.mark(WINDOW + 40, 530)
    assert pace.describe(WINDOW + 40, 530, 1000) == ", 2.0 s each, 15 min 40 s left"
    assert pace.describe(WINDOW + 50, 530, 1000) == ", 2.0 s each, 15 min 30 s left"
    assert pace.describe(WINDOW + 99999, 530, 1000) == ", 2.0 s each, 0.0 s left"


def test_the_marks_of_a_rate_are_few_however_often_it_is_told() -> None:
    pace = Pace()
    for count in range(100_000):
        pace.mark(count / 1000, count)
    assert len(pace._marks) <= WINDOW / FASTEST + 5
    assert pace.describe(99.999, 99_999, 200_000).startswith(", 1,000/s, ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
     (125, "2 min 05 s"), (3599.7, "1 h 00 min"), (4800, "1 h 20 min")],
)  # fmt: skip
def test_times_are_said_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
