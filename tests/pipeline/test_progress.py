import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.audit import Counts
from data.ingest import Alike, IngestResult
from pipeline.progress import (
    NodeTimes,
    chatter_to,
    describe_alike,
    describe_records,
    describe_remarks,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def times() -> Iterator[NodeTimes]:
    times = NodeTimes(total=2)
    yield times
    times.close()


@pytest.fixture
def logger(times: NodeTimes) -> Iterator[logging.Logger]:
    logger = logging.Logger("runner", logging.INFO)
    logger.addHandler(times)
    yield logger
    logger.removeHandler(times)


def run_node(logger: logging.Logger, node: str) -> None:
    logger.info("Component %s is running.", node)
    logger.info("Component %s is finished.", node)


def test_each_node_is_named_when_it_starts_and_timed_when_it_ends(
    times: NodeTimes, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("Component %s is running.", "Trainer")
    assert capsys.readouterr().out == "[ 1/2] Trainer\n"
    assert times.wall == {}
    logger.info("Component %s is finished.", "Trainer")
    run_node(logger, "Pusher")
    assert capsys.readouterr().out == "[ 2/2] Pusher\n"
    assert list(times.wall) == list(times.cpu) == ["Trainer", "Pusher"]
    assert all(seconds >= 0 for seconds in (*times.wall.values(), *times.cpu.values()))


def test_a_node_that_fails_has_no_time(times: NodeTimes, logger: logging.Logger) -> None:
    run_node(logger, "Transform")
    logger.info("Component %s is running.", "Trainer")
    assert list(times.wall) == ["Transform"]


def test_the_memory_of_each_node_is_told_and_nothing_looks_on_after_a_failure(
    times: NodeTimes, logger: logging.Logger
) -> None:
    run_node(logger, "Transform")
    assert list(times.memory) == ["Transform"]
    assert 10 < (times.memory["Transform"] or 0) < 100_000
    logger.info("Component %s is running.", "Trainer")
    looking = {thread.name for thread in threading.enumerate()}
    times.close()
    assert "peak-memory" in looking
    assert "peak-memory" not in {thread.name for thread in threading.enumerate()}
    assert list(times.memory) == ["Transform"]


def test_other_messages_are_passed_over(
    times: NodeTimes, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("Component Trainer is running.")
    logger.warning("%s and %s", 1, 2)
    logger.debug("Component %s is running.", "Trainer")
    assert times.wall == {}
    assert capsys.readouterr().out == ""


def test_the_runner_still_says_what_is_listened_for() -> None:
    """The messages are no interface of TFX: a new release may change them."""
    from tfx.orchestration.local import local_dag_runner

    source = Path(local_dag_runner.__file__).read_text()
    assert "'Component %s is running.'" in source
    assert "'Component %s is finished.'" in source


def test_what_goes_to_stderr_lands_in_the_log_even_from_below_python(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "run.log"
    with chatter_to(log):
        os.write(2, b"from C++\n")
        os.system("echo from a child >&2")
        print("for the terminal", flush=True)
    os.write(2, b"afterwards\n")
    assert log.read_text() == "from C++\nfrom a child\n"
    shown = capfd.readouterr()
    assert shown.out == "for the terminal\n"
    assert shown.err == "afterwards\n"


def test_stderr_is_restored_after_a_failure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="inside"), chatter_to(tmp_path / "run.log"):
        raise ValueError("inside")
    os.write(2, b"seen\n")
    assert capfd.readouterr().err == "seen\n"


def test_no_file_descriptor_is_lost(tmp_path: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(3):
        with chatter_to(tmp_path / "run.log"):
            pass
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_the_log_is_that_of_the_last_run(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    for message in (b"first", b"second"):
        with chatter_to(log):
            os.write(2, message)
    assert log.read_bytes() == b"second"


def test_a_log_that_cannot_be_written_leaves_stderr_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OSError), chatter_to(tmp_path / "no folder" / "run.log"):  # noqa: PT011
        pytest.fail("there is no such folder")
    print("seen", file=sys.stderr, flush=True)
    assert "seen" in capfd.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_on_a_full_disk_hides_nothing_of_what_follows() -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.progress import chatter_to\n"
        "try:\n"
        "    with chatter_to(Path('/dev/full')): print('chatter', file=sys.stderr)\n"
        "except OSError as error: print('failed:', error.strerror, file=sys.stderr)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert shown.stderr == "failed: No space left on device\n"
    assert shown.returncode == 0


@pytest.mark.parametrize(("cached", "said"), [(False, "left out: "), (True, ", unchanged: ")])
def test_the_records_are_described_in_a_line(cached: bool, said: str) -> None:
    counts = {"train": {"a": 1_000, "b": 500}, "val": {"a": 3, "b": 4}, "test": {"a": 5, "b": 6}}
    line = describe_records(ingested(counts, cached=cached))
    assert line.startswith("1,500 train, 7 val, 11 test; 7 rejected, 2 in conflict left out")
    assert line.endswith(f"{said}x/span-2")


def test_what_was_decided_or_held_before_is_in_the_line() -> None:
    line = describe_records(ingested({"train": {"a": 1}}, relabelled=50, earlier=4_000, older=9))
    assert line.endswith(
        "left out, 50 relabelled, 4,000 in earlier spans, 9 from before the window: x/span-2"
    )


def test_near_duplicates_are_described_with_the_chance_of_an_error() -> None:
    line = describe_alike(ingested({}))
    assert line == (
        "407 photos are copies of each other, exactly or nearly: 196 pictures "
        "(up to 70 of 256 bits differ; 0.74 false pairs expected)"
    )
    unmeasured = describe_alike(ingested({}, alike=Alike(31, None, 2, 1, 0)))
    assert (
        "(up to 31 of 256 bits differ; the photos are too few, too many or too much" in unmeasured
    )


def test_photos_too_plain_to_compare_are_in_the_line() -> None:
    line = describe_alike(ingested({}, alike=Alike(70, 0.741, 407, 196, 1_012)))
    assert line.endswith("0.74 false pairs expected; 1,012 too plain to compare)")


def test_decisions_that_no_longer_fit_are_counted_and_three_are_named() -> None:
    (line,) = describe_remarks(ingested({}, unheeded=("a", "b", "c", "d", "e")))
    assert line == (
        "5 decisions no longer fit their photos; to change that, decide again in `review`: "
        "a, b, c, and 2 more"
    )


def test_what_a_span_does_not_honour_or_hold_is_said() -> None:
    assert describe_remarks(ingested({})) == []
    held, alone = describe_remarks(ingested({}, held_otherwise=3, only_new=True))
    assert held.startswith("3 decisions are not honoured here: ")
    assert "without --span" in held
    assert alone.startswith("span-2 holds only what is new, and a compiled pipeline trains on the")
    assert describe_remarks(ingested({}, remarks=("span-1 is damaged",))) == ["span-1 is damaged"]


def ingested(
    counts: Counts,
    *,
    relabelled: int = 0,
    unheeded: tuple[str, ...] = (),
    held_otherwise: int = 0,
    earlier: int = 0,
    only_new: bool = False,
    older: int = 0,
    alike: Alike = Alike(70, 0.741, 407, 196, 0),  # noqa: B008 (it is frozen)
    cached: bool = False,
    remarks: tuple[str, ...] = (),
) -> IngestResult:
    return IngestResult(
        span_dir=Path("x/span-2"),
        classes=("a", "b"),
        counts=counts,
        rejected=7,
        conflicts=2,
        relabelled=relabelled,
        unheeded=unheeded,
        held_otherwise=held_otherwise,
        earlier=earlier,
        only_new=only_new,
        older=older,
        alike=alike,
        cached=cached,
        remarks=remarks,
    )
