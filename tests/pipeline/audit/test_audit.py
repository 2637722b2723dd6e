"""The command, from a folder of photos to the page."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from data.contract.errors import Exit
from data.drawn_dogs import draw_photo
from pipeline.cli import main

QUICK = ["--set", "model.backbone=tiny", "--set", "model.weights=random"]


def draw(folder: Path, number: int, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + number):
        file = folder / f"{seed}.jpg"
        file.write_bytes(draw_photo("happy", np.random.default_rng(seed)))


def audit(source: Path, out: Path, *options: str) -> int:
    return main(["audit", str(source), "--out", str(out), *QUICK, *options])


def text(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.read_text()))


def test_photos_that_no_run_would_take_get_their_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "audit.html"
    draw(photos / "happy", 3)
    draw(photos / "sad", 2, first=10)
    (photos / "sad" / "0.jpg").write_bytes((photos / "happy" / "0.jpg").read_bytes())
    for number in range(30):
        (photos / "sad" / f"bad{number}.jpg").write_bytes(b"not a picture")
    (photos / "sad" / "empty.jpg").touch()
    assert audit(photos, out) == Exit.DONE
    page = text(out)
    assert "37 files" in page
    assert "A run would refuse them: 31 of 37 photos" in page
    assert "the same picture is labelled happy (happy/0.jpg) and sad (sad/0.jpg)" in page
    assert "empty file" in page
    assert "Not judged: weights &#39;random&#39; come without a head" in page
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("37 photos, 4 usable, 31 rejected, 2 left out: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.html", "photos"]


def test_photos_none_of_which_is_one_get_their_page(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "audit.html"
    for label in ("happy", "sad"):
        (photos / label).mkdir(parents=True)
        (photos / label / "a.jpg").touch()
    assert audit(photos, out) == Exit.DONE
    assert "there is no photo to judge" in text(out)


def test_one_class_and_hostile_names_get_their_page(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "audit.html"
    draw(photos / "<img src=x onerror=alert(1)>, b", 2)
    (photos / "empty").mkdir()
    assert audit(photos, out) == Exit.DONE
    assert "<img src=x" not in out.read_text()
    assert "A run would refuse them: class folder" in text(out)


def test_what_people_decided_is_honoured(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "audit.html"
    draw(photos / "happy", 3)
    draw(photos / "sad", 2, first=10)
    sha256 = hashlib.sha256((photos / "happy" / "0.jpg").read_bytes()).hexdigest()
    (photos / "relabels.csv").write_text(
        f"sha256,from,to,reason,when\n{sha256},happy,,no dog,2026-11-28T00:00:00+00:00\n"
    )
    assert audit(photos, out) == Exit.DONE
    assert "happy/0.jpg: left out by relabels.csv" in text(out)


def test_a_page_is_replaced_as_a_whole(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "audit.html"
    draw(photos / "happy", 1)
    draw(photos / "sad", 1, first=10)
    out.write_text("the old page")
    assert audit(photos, out) == Exit.DONE
    assert out.read_text().endswith("</html>")


@pytest.mark.parametrize(
    ("source", "out", "status", "message"),
    [
        ("nowhere", "a.html", Exit.FAILED, "no photos at"),
        ("none", "a.html", Exit.FAILED, "no photos in"),
        ("photos", "missing/a.html", Exit.USAGE, "there is no folder"),
        ("photos", "folder", Exit.USAGE, "it is a folder; name a file"),
        ("photos", "photos/happy/a.html", Exit.USAGE, "name a folder apart from the photos"),
        ("photos", "/proc/a.html", Exit.FAILED, "--out /proc/a.html cannot be written: "),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    out: str,
    status: Exit,
    message: str,
) -> None:
    draw(tmp_path / "photos" / "happy", 1)
    draw(tmp_path / "photos" / "sad", 1, first=10)
    (tmp_path / "none").mkdir()
    (tmp_path / "folder").mkdir()
    assert audit(tmp_path / source, tmp_path / out) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
