"""What waits for a run, as the disk tells it."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data.folder import list_photos
from pipeline.watch.backlog import Backlog, Ended, LastRun, read_backlog
from pipeline.workdir import Workdir
from tests.pipeline.watch.conftest import Past, add

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def last(days: float, ended: Ended = Ended.WHOLE) -> LastRun:
    return LastRun("a run", NOW - timedelta(days=days), ended, frozenset())


@pytest.mark.parametrize(
    ("new", "before", "due"),
    [
        (0, None, False),
        (49, None, False),
        (50, None, True),
        (49, last(1), False),
        (50, last(1), True),
        (0, last(30), False),
        (1, last(6.9), False),
        (1, last(7), True),
        (0, last(0, Ended.NOT_YET), True),
        (1, last(1, Ended.FAILED), False),
        (0, last(7, Ended.FAILED), True),
        (50, last(1, Ended.FAILED), True),
    ],
)
def test_when_there_is_a_run(new: int, before: LastRun | None, due: bool) -> None:
    backlog = Backlog(frozenset(map(str, range(new))), before)
    assert backlog.is_due(enough=50, days=7, now=NOW) is due


def test_where_nothing_has_run_every_photo_is_new(photos: Path, workdir: Workdir) -> None:
    add(photos, "happy/a.jpg", "sad/b.jpg")
    assert read_backlog(photos, workdir, 0) == Backlog(
        frozenset({"happy/a.jpg", "sad/b.jpg"}), None
    )


def test_what_the_last_run_has_seen_is_not_new_whatever_came_of_it(
    photos: Path, workdir: Workdir, past: Past
) -> None:
    add(photos, *(f"happy/{name}.jpg" for name in "abcd"), "sad/notes.jpg")
    run = past.begin("happy/a.jpg", "happy/b.jpg", "happy/gone.jpg", rejected="sad/notes.jpg")
    past.end(run)
    backlog = read_backlog(photos, workdir, 0)
    assert backlog.new == {"happy/c.jpg", "happy/d.jpg"}
    assert backlog.last is not None
    assert backlog.last.ended is Ended.WHOLE
    assert abs(backlog.last.when - datetime.now(UTC)) < timedelta(minutes=1)


def test_photos_that_came_before_the_window_are_not_new(
    photos: Path, workdir: Workdir, past: Past
) -> None:
    add(photos, "happy/old.jpg", "happy/a.jpg", "happy/new.jpg")
    past.end(past.begin("happy/a.jpg"))
    seen = workdir.data / "span-1" / "first-seen.csv"
    seen.write_text("path,sha256,span\nhappy/old.jpg,s,1\nhappy/a.jpg,t,2\n")
    assert read_backlog(photos, workdir, 0).new == {"happy/new.jpg"}


def test_a_run_that_was_killed_is_not_one_that_has_failed(
    photos: Path, workdir: Workdir, past: Past
) -> None:
    add(photos, "happy/a.jpg")
    past.end(past.begin("happy/a.jpg"))
    run = past.begin("happy/a.jpg")
    killed = read_backlog(photos, workdir, 0).last
    past.fail(run, "DataGate")
    failed = read_backlog(photos, workdir, 0).last
    assert killed is not None
    assert failed is not None
    assert (killed.ended, failed.ended) == (Ended.NOT_YET, Ended.FAILED)
    assert failed.failed_nodes == {"DataGate"}


def test_a_photo_that_is_being_copied_waits_until_it_is_whole(
    photos: Path, workdir: Workdir
) -> None:
    add(photos, "happy/whole.jpg", "sad/whole.jpg")
    time.sleep(1.1)
    with (photos / "happy/half.jpg").open("wb") as half:
        for _ in range(4):
            half.write(b"some of it")
            half.flush()
            time.sleep(0.3)
            assert read_backlog(photos, workdir, 1).new == {"happy/whole.jpg", "sad/whole.jpg"}
            taken = [photo.name for photo in list_photos(photos, settled_seconds=1)]
            assert taken == ["happy/whole.jpg", "sad/whole.jpg"]
    time.sleep(1.1)
    assert "happy/half.jpg" in read_backlog(photos, workdir, 1).new
