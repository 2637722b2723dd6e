"""`dog-emotion review` as a user runs it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from components.model.settings import ModelSettings
from data import relabels
from data.drawn_dogs import draw_dataset, draw_photo
from data.feedback import read_feedback
from data.relabels import Relabel
from pipeline.cli import main
from pipeline.config import Config
from pipeline.workdir import Workdir
from tests.data.test_feedback import add
from tests.pipeline.review.conftest import Client


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    draw_dataset(folder, per_class=24, seed=0)
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Workdir:
    """One whose last run had a backbone that is there in no time."""
    workdir = Workdir(tmp_path_factory.mktemp("workdir"))
    workdir.store_config(Config(model=ModelSettings(backbone="tiny", weights="random")))
    return workdir


class Running:
    """The command in a process of its own, as far as the page is there."""

    def __init__(self, photos: Path, workdir: Workdir, *options: str) -> None:
        command = ["review", str(photos), "--workdir", str(workdir.root), "--port", "0", *options]
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("dog-emotion")), *command],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("review "):
                break
        url = self.said[-1].split()[1]
        self.review = Client(url)

    def end(self) -> str:
        """Interrupts it, and returns what it has to say about that."""
        self.process.send_signal(signal.SIGINT)
        out, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        return out


@contextmanager
def running(photos: Path, workdir: Workdir, *options: str) -> Iterator[Running]:
    started = Running(photos, workdir, *options)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def test_nothing_is_lost_by_a_kill_and_ingestion_honours_what_was_decided(
    photos: Path, workdir: Workdir
) -> None:
    with running(photos, workdir) as first:
        item = first.review.ask("GET", f"/items/0?list={first.review.list}").json
        other = "sad" if item["label"] != "sad" else "happy"
        assert first.review.answer(position=0, to=other).status == 200
        assert first.review.answer(position=1, to="").status == 200
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    table = relabels.default_file(photos)
    assert sorted(row.to for row in relabels.read(table).rows.values()) == sorted(["", other])
    stranger = "f" * 64
    relabels.append(table, Relabel(stranger, "sad", "happy", "", datetime.now(UTC)))

    with running(photos, workdir) as second:
        said = "".join(second.said)
        assert "2 relabelled" in said or "1 relabelled" in said
        assert "features" not in said
        assert "decided already: 1, and 2 photos that the records do not hold" in said
        decided = second.review.ask("GET", "/state").json["decided"]
        assert [(each["to"], each["earlier"]) for each in decided] == [(other, True)]
        position = decided[0]["position"]
        shown = second.review.ask("GET", f"/items/{position}?list={second.review.list}").json
        assert (shown["name"], shown["label"]) == (item["name"], other)
        right = 0 if position else 1
        label = second.review.ask("GET", f"/items/{right}?list={second.review.list}").json["label"]
        assert second.review.answer(position=right, to=label).status == 200
        undone = second.review.answer(position=position, seen=other, to=None)
        assert [each["to"] for each in undone.json["decided"]] == [label]
        shown = second.review.ask("GET", f"/items/{position}?list={second.review.list}").json
        assert shown["label"] == item["label"]
        last = second.end()
    assert "decided   0 relabelled, 1 right, 0 left out; 94 undecided" in last
    assert f"next      dog-emotion run --photos {photos} --workdir {workdir.root}" in last
    assert relabels.read(table).rows[stranger].to == "happy"


def test_a_conflict_is_mended_by_one_decision(photos: Path, workdir: Workdir) -> None:
    original = photos / "happy" / "twice.png"
    drawn = draw_photo("happy", np.random.default_rng(99))
    original.write_bytes(drawn)
    copy = photos / "sad" / "twice.png"
    copy.write_bytes(drawn + b"another file of the same picture")
    try:
        with running(photos, workdir) as first:
            item = first.review.ask("GET", f"/items/0?list={first.review.list}").json
            assert item["conflict"].startswith("the same picture is labelled happy (happy/twice")
            assert [each["position"] for each in item["copies"]] == [1]
            assert first.review.answer(position=0, to="happy").status == 200
        with running(photos, workdir) as second:
            item = second.review.ask("GET", f"/items/0?list={second.review.list}").json
            assert item["conflict"] == ""
    finally:
        original.unlink()
        copy.unlink()


def test_a_second_start_computes_nothing_again(photos: Path, workdir: Workdir) -> None:
    with running(photos, workdir):
        pass
    kept = (workdir.review / "features.npz").stat()
    with running(photos, workdir) as again:
        assert "unchanged" in "".join(again.said)
        assert "features" not in "".join(again.said)
    assert (workdir.review / "features.npz").stat() == kept


def test_damaged_features_are_computed_again(photos: Path, workdir: Workdir) -> None:
    (workdir.review / "features.npz").write_bytes(b"PK\x03\x04 half a file")
    with running(photos, workdir) as started:
        assert "features  of 96 of 96" not in started.said[0]
        assert any(line.startswith("features") for line in started.said)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["{photos}", "--relabels", "/proc/none/relabels.csv"], "cannot be written: name another"),
        (["{photos}", "--workdir", "{photos}/runs"], "name a folder apart from the photos"),
    ],
)
def test_wrong_usage_is_said_at_once(
    photos: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert main(["review", *(each.format(photos=photos) for each in options)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_damaged_table_is_named_before_anything_is_computed(
    photos: Path, workdir: Workdir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "relabels.csv"
    table.write_text("sha256,from,to,reason,when\nabc,sad")
    command = ["review", str(photos), "--workdir", str(workdir.root), "--relabels", str(table)]
    assert main(command) == 1
    assert "line 2 is cut off: 'abc,sad' has no line break" in capsys.readouterr().err


def test_feedback_comes_first_and_nothing_that_was_decided_is_lost_by_a_kill(
    photos: Path, workdir: Workdir, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    said.mkdir()
    sent = [draw_photo("happy", np.random.default_rng(5000 + number)) for number in range(4)]
    kept = [add(said, photo, correction="happy") for photo in sent]
    add(said, b"of another model", correction="bored")
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    with running(photos, workdir, f"--feedback={said}") as first:
        assert "bored is no class of PHOTOS" in "".join(first.said)
        assert "0 taken into" in "".join(first.said)
        review = first.review
        items = [review.ask("GET", f"/items/{n}?list={review.list}").json for n in range(5)]
        waiting = {
            item["name"]: n for n, item in enumerate(items) if "the page" in item["conflict"]
        }
        assert waiting.keys() == {f"said/{each.photo}" for each in kept}
        assert all(items[n]["label"] == "happy" for n in waiting.values())
        for each, to in zip(kept, ("happy", "sad", ""), strict=False):
            assert review.answer(position=waiting[f"said/{each.photo}"], to=to).status == 200
        first.process.kill()
    now = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    assert now == files  # decided, and not yet among the photos
    with running(photos, workdir, f"--feedback={said}") as second:
        assert f"2 taken into {photos}, 1 left out, 1 to decide about" in "".join(second.said)
        second.end()
    now = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    assert now == sorted([*files, f"happy/{kept[0].photo}", f"sad/{kept[1].photo}"])
    assert [each.sha256 for each in read_feedback(said)[0] if each.correction == "happy"] == [
        kept[3].sha256
    ]


def test_a_folder_of_feedback_that_cannot_be_used_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "happy" / "said").mkdir()
    table = tmp_path / "photos.csv"
    table.write_text("path,label\n")
    for source, folder, words in (
        (photos, tmp_path / "nowhere", "there is no such folder"),
        (photos, photos / "happy" / "said", "is inside"),
        (table, tmp_path, "needs PHOTOS with a folder for each class"),
    ):
        command = ["review", str(source), f"--workdir={tmp_path / 'run'}", f"--feedback={folder}"]
        assert main(command) == 2
        assert words in capsys.readouterr().err
    (photos / "happy" / "said").rmdir()
