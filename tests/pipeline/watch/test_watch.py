"""The watch around runs that this test makes up, and the command as far as no run is due."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.contract.errors import Exit
from pipeline.watch import watch as watch_module
from pipeline.watch.child import Ending, run_command
from pipeline.watch.watch import Terms, Watch
from pipeline.workdir import Workdir, WorkdirError
from tests.pipeline.watch.conftest import Past, add
from tests.serving.conftest import wait_for

DOG_EMOTION = str(Path(sys.executable).with_name("dog-emotion"))
WRITE = "import sys; open({!r}, 'a').write(sys.stdin.read() + chr(10))"


class Runs:
    """What is run in place of `dog-emotion run`, in its turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script: list[Callable[[], Ending]] = []
        self.begun = 0
        monkeypatch.setattr(watch_module, "run_command", self._run)

    def _run(self, arguments: list[str]) -> Ending:
        assert arguments == ["run"]
        self.begun += 1
        return self.script.pop(0)()


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """What the hook was told, a line for each event."""
    return tmp_path / "told"


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def watch(photos: Path, workdir: Workdir, told: Path, complaints: list[str]) -> Watch:
    hook = [sys.executable, "-c", WRITE.format(str(told))]
    terms = Terms(enough=2, days=7, settled_seconds=0, every_seconds=0.01, hook=hook)
    return Watch(photos, workdir, ["run"], terms, lambda line: complaints.append(str(line)))


def events(told: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


def test_enough_photos_become_one_run_and_then_it_waits_for_more(
    watch: Watch, runs: Runs, photos: Path, past: Past, told: Path
) -> None:
    past.end(past.begin("happy/a.jpg", "happy/b.jpg"))
    add(photos, "happy/a.jpg", "happy/b.jpg", "sad/c.jpg")
    assert watch.once() == Exit.DONE
    assert runs.begun == 0
    add(photos, "sad/d.jpg")

    def succeed() -> Ending:
        past.end(past.begin("happy/a.jpg", "happy/b.jpg", "sad/c.jpg", "sad/d.jpg"))
        return Ending(0, "")

    runs.script = [succeed]
    for _ in range(3):
        assert watch.once() == Exit.DONE
    assert runs.begun == 1
    assert events(told) == []


def test_a_run_that_was_killed_goes_on_with_the_next_watch(
    watch: Watch, runs: Runs, photos: Path, past: Past, workdir: Workdir
) -> None:
    add(photos, "happy/a.jpg", "happy/b.jpg")
    run = past.begin("happy/a.jpg", "happy/b.jpg")  # and no more is there of it

    def go_on() -> Ending:
        past.end(run)
        return Ending(0, "")

    runs.script = [go_on]
    assert watch.once() == Exit.DONE
    assert watch.once() == Exit.DONE
    assert runs.begun == 1


def test_a_blocked_model_is_told_once(
    watch: Watch, runs: Runs, photos: Path, past: Past, told: Path, workdir: Workdir
) -> None:
    add(photos, "happy/a.jpg", "happy/b.jpg")

    def block() -> Ending:
        past.end(past.begin("happy/a.jpg", "happy/b.jpg"))
        return Ending(3, "the gate blocked the model; nothing was pushed")

    runs.script = [block]
    assert [watch.once(), watch.once()] == [Exit.BLOCKED, Exit.DONE]
    (event,) = events(told)
    assert event.pop("when")
    assert event == {
        "event": "blocked",
        "message": "the gate blocked the model; nothing was pushed",
        "exit_status": 3,
        "photos": str(photos),
        "workdir": str(workdir.root),
    }


def test_a_stop_by_the_data_gate_and_another_failure_are_told_apart(
    watch: Watch, runs: Runs, photos: Path, past: Past, told: Path
) -> None:
    def fail(node: str) -> Callable[[], Ending]:
        def failing() -> Ending:
            names = [f"happy/{path.name}" for path in (photos / "happy").iterdir()]
            past.fail(past.begin(*names), node)
            return Ending(1, f"{node} says no")

        return failing

    runs.script = [fail("DataGate"), fail("Trainer")]
    add(photos, "happy/a.jpg", "happy/b.jpg")
    assert [watch.once(), watch.once()] == [Exit.FAILED, Exit.DONE]  # it would fail again
    add(photos, "happy/c.jpg", "happy/d.jpg")
    assert [watch.once(), watch.once()] == [Exit.FAILED, Exit.DONE]
    said = [(event["event"], event["message"]) for event in events(told)]
    assert said == [("data_gate", "DataGate says no"), ("failed", "Trainer says no")]


def test_what_fails_before_it_has_begun_is_tried_again_with_enough_further_photos(
    watch: Watch, runs: Runs, photos: Path, told: Path
) -> None:
    runs.script = [lambda: Ending(1, "only one class"), lambda: Ending(2, "wrong settings")]
    add(photos, "happy/a.jpg")
    assert watch.once() == Exit.DONE  # the first run is for enough photos, too
    add(photos, "happy/b.jpg")
    assert [watch.once(), watch.once()] == [Exit.FAILED, Exit.DONE]
    add(photos, "sad/c.jpg")
    assert watch.once() == Exit.DONE
    add(photos, "sad/d.jpg")
    assert [watch.once(), watch.once()] == [Exit.USAGE, Exit.DONE]
    said = [(event["event"], event["message"]) for event in events(told)]
    assert said == [("failed", "only one class"), ("failed", "wrong settings")]


def test_what_has_failed_is_tried_again_when_the_days_have_passed(
    watch: Watch, runs: Runs, photos: Path, past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Ending:
        past.fail(past.begin("happy/a.jpg", "happy/b.jpg"), "Trainer")
        return Ending(1, "Trainer says no")

    def look_in(days: int) -> int:
        later = datetime.now(UTC) + timedelta(days=days)
        monkeypatch.setattr(watch_module, "datetime", SimpleNamespace(now=lambda zone: later))
        return watch.once()

    runs.script = [fail, lambda: Ending(1, "the disk is full"), lambda: Ending(1, "still full")]
    add(photos, "happy/a.jpg", "happy/b.jpg")
    statuses = [look_in(days) for days in (0, 6, 8, 9, 14, 16)]
    assert [bool(status) for status in statuses] == [True, False, True, False, False, True]
    assert runs.begun == 3


@pytest.mark.parametrize("leaves_something", [True, False])
def test_a_run_that_is_killed_goes_on_at_the_next_look_but_not_for_ever(
    watch: Watch, runs: Runs, photos: Path, past: Past, leaves_something: bool
) -> None:
    def be_killed() -> Ending:
        if leaves_something:
            past.begin("happy/a.jpg", "happy/b.jpg")
        return Ending(-9, "")

    runs.script = [be_killed] * 4
    add(photos, "happy/a.jpg", "happy/b.jpg")
    assert [watch.once() for _ in range(4)] == [Exit.FAILED] * 3 + [Exit.DONE]
    add(photos, "sad/c.jpg", "sad/d.jpg")
    assert [watch.once() for _ in range(2)] == [Exit.FAILED, Exit.DONE]
    assert runs.begun == 4


@pytest.mark.parametrize(
    ("hook", "words"), [("false", "the hook ended with 1"), ("no-such-command", "No such file")]
)
def test_a_hook_that_fails_is_complained_of_and_the_watch_goes_on(
    photos: Path, workdir: Workdir, runs: Runs, complaints: list[str], hook: str, words: str
) -> None:
    terms = Terms(1, 7, 0, 0.01, [hook])
    watch = Watch(photos, workdir, ["run"], terms, lambda line: complaints.append(str(line)))
    runs.script = [lambda: Ending(1, "something"), lambda: Ending(0, "")]
    add(photos, "happy/a.jpg")
    assert watch.once() == Exit.FAILED
    (complaint,) = complaints
    assert words in complaint
    add(photos, "happy/b.jpg")
    assert watch.once() == Exit.DONE


def test_while_another_run_is_in_the_folder_it_waits(
    watch: Watch, runs: Runs, photos: Path, workdir: Workdir
) -> None:
    add(photos, "happy/a.jpg")
    with workdir.locked(), pytest.raises(WorkdirError, match="another run is using"):
        watch.once()
    assert runs.begun == 0


def test_what_a_run_says_is_passed_on_and_its_last_complaint_is_known(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ending = run_command(["run", "--photos", str(tmp_path / "nowhere")])
    assert ending.status == 2
    assert "nowhere: there is no such folder" in ending.message
    assert not ending.message.startswith("dog-emotion")
    assert "nowhere: there is no such folder" in capfd.readouterr().err


def start(photos: Path, workdir: Workdir, *options: str) -> subprocess.Popen[str]:
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [DOG_EMOTION, "watch", str(photos), f"--workdir={workdir.root}", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, ours)
    return process


def test_what_a_watch_runs_ends_with_it_even_if_it_is_killed(
    photos: Path, workdir: Workdir
) -> None:
    """The command that is run is a watch, too, as that does not end by itself."""
    arguments = ["watch", str(photos), f"--workdir={workdir.root}"]
    code = f"from pipeline.watch.child import run_command; run_command({arguments!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        with pytest.raises(WorkdirError), workdir.watched():
            pass
        parent.kill()

    def is_free() -> bool:
        try:
            with workdir.watched():
                return True
        except WorkdirError:
            return False

    wait_for(is_free)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well_and_no_second_watch_gets_in(
    photos: Path, workdir: Workdir, sent: signal.Signals
) -> None:
    with start(photos, workdir, "--every=3600") as first:
        assert first.stdout
        assert first.stdout.readline().startswith("watch     ")
        with start(photos, workdir, "--once") as second:
            _, complaint = second.communicate(timeout=120)
        assert second.returncode == 1
        assert f"another watch is using {workdir.root}" in complaint
        time.sleep(0.5)
        first.send_signal(sent)
        _, complaint = first.communicate(timeout=120)
        assert first.returncode == 130
        assert complaint.splitlines()[-1] == "dog-emotion: stopped"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--enough=0"], "0 should be from 1"),
        (["--hook= "], "--hook is empty"),
        (["--hook=mail 'it", "--once"], "No closing quotation"),
        (["--set=data.no_such=1"], "no_such"),
    ],
)
def test_wrong_usage_is_named_at_once(
    photos: Path, workdir: Workdir, options: list[str], words: str
) -> None:
    with start(photos, workdir, *options) as process:
        _, complaint = process.communicate(timeout=120)
    assert process.returncode == 2
    assert words in complaint
