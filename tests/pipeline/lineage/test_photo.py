import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data import relabels, span_photos, spans
from data.contract.errors import Exit
from data.drawn_dogs import draw_photo
from data.relabels import Relabel
from pipeline.cli import main
from pipeline.config import load_config
from pipeline.outputs import open_store
from pipeline.workdir import Workdir
from tests.pipeline.lineage.stores import Recorder


class Made:
    """A photo that one span trained on and the next one left out; a version, gone by now, of
    the first."""

    def __init__(self, root: Path) -> None:
        self.source = root / "photos"
        self.photo = self.source / "happy" / "rex.jpg"
        self.photo.parent.mkdir(parents=True)
        self.photo.write_bytes(draw_photo("happy", np.random.default_rng(0)))
        self.sha256 = hashlib.sha256(self.photo.read_bytes()).hexdigest()
        self.workdir = Workdir(root / "run")
        self.workdir.root.mkdir()
        self.workdir.store_config(load_config())
        row = ["happy/rex.jpg", "happy", "train", "g", "p", self.sha256]
        other = ["sad/ada.jpg", "sad", "train", "g", "p", "0" * 64]
        self._span(1, [other, row], [])
        self._span(2, [other], [["happy/rex.jpg", "happy", "g", "it is two dogs", self.sha256]])
        recorder = Recorder(open_store(self.workdir.metadata))
        run = recorder.begin("run-1", span=1)
        recorder.push(run, self.workdir.serving / "17")

    def _span(self, number: int, photos: Sequence[list[str]], left_out: list[list[str]]) -> None:
        span = self.workdir.data / f"span-{number}"
        span.mkdir(parents=True)
        manifest = dict.fromkeys(spans.KEYS, 0) | {"source": str(self.source)}
        spans.write_manifest(span, manifest)
        for name, columns, rows in (
            (span_photos.TABLE, span_photos.COLUMNS, photos),
            (span_photos.CONFLICTS, span_photos.CONFLICT_COLUMNS, left_out),
        ):
            with (span / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([columns, *rows])

    def why(self, *arguments: str) -> int:
        return main(["why", str(self.photo), "--workdir", str(self.workdir.root), *arguments])


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_the_spans_that_hold_a_photo_and_the_versions_made_of_them_are_named(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.why("--json") == Exit.DONE
    said = json.loads(capsys.readouterr().out)
    assert said["sha256"] == made.sha256
    held = {"filename": "happy/rex.jpg", "label": "happy"}
    assert said["sightings"] == [
        {"span": 1, **held, "split": "train", "left_out": "", "versions": ["17"]},
        {"span": 2, **held, "split": "", "left_out": "it is two dogs", "versions": []},
    ]
    assert made.why() == Exit.DONE
    text = capsys.readouterr().out
    assert "span 1    happy/rex.jpg, labelled happy, train photo of 17\n" in text
    assert "span 2    happy/rex.jpg, labelled happy: left out, it is two dogs\n" in text


def test_the_decision_in_force_is_told(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)
    file = relabels.default_file(made.source)
    relabels.append(file, Relabel(made.sha256, "happy", "sad", "the tail is down", when))
    assert made.why("--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["decision"] == {
        "before": "happy",
        "to": "sad",
        "reason": "the tail is down",
        "when": "2026-11-28T09:30:00+00:00",
    }
    assert made.why() == Exit.DONE
    said = "decided   happy: sad (the tail is down), 2026-11-28T09:30:00+00:00\n"
    assert said in capsys.readouterr().out
    relabels.append(file, Relabel(made.sha256, "", "", relabels.UNDO, when))
    assert made.why("--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["decision"] is None


def test_where_no_version_is_left_it_says_so(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.why("--json") == Exit.DONE
    said = json.loads(capsys.readouterr().out)
    assert (said["nearest"], said["opinions"]) == (None, [])
    assert said["no_nearest"] == "no run in this folder has made the version served now"
    made.photo.write_bytes(draw_photo("sad", np.random.default_rng(1)))
    assert made.why() == Exit.DONE
    text = capsys.readouterr().out
    assert "spans     none that is still there is known to hold this file\n" in text
    assert text.endswith("versions  none was kept\n")


def test_a_photo_is_told_of_where_the_spans_are_gone(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(made.workdir.data)
    assert made.why("--json") == Exit.DONE
    said = json.loads(capsys.readouterr().out)
    assert (said["sightings"], said["decision"]) == ([], None)


def test_a_span_without_its_tables_is_told_apart_from_those_that_hold_the_photo(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    (made.workdir.data / "span-2" / span_photos.TABLE).unlink()
    assert made.why("--json") == Exit.DONE
    said = json.loads(capsys.readouterr().out)
    assert [each["span"] for each in said["sightings"]] == [1]
    assert said["spans_without_tables"] == [2]
    assert made.why() == Exit.DONE
    assert "span 2    does not say what it holds\n" in capsys.readouterr().out


def test_what_is_no_photo_is_refused_in_one_line(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.photo.write_bytes(b"no photo")
    assert made.why() == Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dog-emotion: {made.photo}: ")
    made.photo.unlink()
    assert made.why() == Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dog-emotion: '{made.photo}' is no file and no version")
