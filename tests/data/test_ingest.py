import csv
import errno
import hashlib
import importlib.metadata
import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import data
from data import relabels, shards, span_photos, spans, splits
from data.contract import features
from data.contract.errors import UsageError
from data.contract.features import SPLITS
from data.errors import DataError, MemoryShortageError
from data.ingest import RECORD_MODULES, IngestResult, ingest
from data.photos import Pixels, decode_photo, hash_pixels, prepare_photo, read_photo
from data.relabels import Relabel

Draw = Callable[[Path, int], bytes]

PER_CLASS = 60


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, draw_noise: Draw) -> Path:
    """Two classes of 60 photos, besides a copy, a pair with two labels, and four rejects."""
    folder = tmp_path_factory.mktemp("photos")
    for number, label in enumerate(("happy", "sad")):
        for index in range(PER_CLASS):
            draw_noise(folder / label / f"{index:02d}.png", 1000 * number + index)
    shutil.copy(folder / "sad/00.png", folder / "sad/copy.png")
    shutil.copy(folder / "sad/01.png", folder / "happy/conflict.png")
    (folder / "happy/empty.jpg").touch()
    (folder / "happy/notes, mine.txt").write_text("a dog")
    (folder / "sad/cut.png").write_bytes((folder / "sad/02.png").read_bytes()[:300])
    (folder / "sad/dangling.jpg").symlink_to(folder / "nowhere.jpg")
    return folder


@pytest.fixture(scope="module")
def ingested(source: Path, tmp_path_factory: pytest.TempPathFactory) -> IngestResult:
    return ingest(source, tmp_path_factory.mktemp("records"))


@pytest.fixture
def out(ingested: IngestResult, tmp_path: Path) -> Path:
    """A copy of the ingested folder, to spoil."""
    return Path(shutil.copytree(ingested.span_dir.parent, tmp_path / "records"))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The photos were written a while ago."""
    monkeypatch.setattr("data.photo_hashes.SETTLED_NS", 0)


def read_records(span: Path) -> dict[str, list[dict[str, Any]]]:
    """The features of every record, by split."""
    records: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for file in sorted(span.glob("*.tfrecord.gz")):
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
            found = tf.train.Example.FromString(record).features.feature
            values = {
                key: getattr(feature, feature.WhichOneof("kind")).value[0]
                for key, feature in found.items()
            }
            records[file.name.partition("-")[0]].append(values)
    return records


def read_table(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as table:
        return list(csv.reader(table))


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_mtime_ns, spans.hash_file(file))
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_records_hold_the_photos(source: Path, ingested: IngestResult) -> None:
    records = read_records(ingested.span_dir)
    seen = set()
    for found in records.values():
        for record in found:
            file = source / record[features.FILENAME].decode()
            assert record[features.SHA256].decode() == spans.hash_file(file)
            assert record[features.GROUP].decode() == hash_pixels(decode_photo(file.read_bytes()))
            assert record[features.LABEL].decode() == file.parent.name
            assert decode_photo(record[features.IMAGE]).shape == (12, 16, 3)
            assert (record[features.WIDTH], record[features.HEIGHT]) == (16, 12)
            with Image.open(file) as photo:
                luma = np.asarray(photo.convert("L")).mean()
            assert record[features.BRIGHTNESS] == pytest.approx(luma, abs=1)
            assert record[features.IMAGE].startswith(b"\xff\xd8\xff")
            assert set(record) == {
                features.IMAGE,
                features.FILENAME,
                features.LABEL,
                features.SHA256,
                features.GROUP,
                features.BRIGHTNESS,
                features.WIDTH,
                features.HEIGHT,
            }
            seen.add(record[features.FILENAME].decode())
    assert len(seen) == sum(map(len, records.values())) == 2 * PER_CLASS
    assert "sad/copy.png" in seen


def test_result_and_manifest_count_what_is_there(ingested: IngestResult) -> None:
    records = read_records(ingested.span_dir)
    counts = {
        split: dict(Counter(record[features.LABEL].decode() for record in found))
        for split, found in records.items()
    }
    assert ingested.counts == counts
    assert ingested.classes == ("happy", "sad")
    assert (ingested.rejected, ingested.conflicts, ingested.cached) == (4, 2, False)
    manifest = json.loads((ingested.span_dir / "manifest.json").read_text())
    assert manifest["counts"] == counts
    assert manifest["versions"]["opencv-python-headless"]
    files = {file.name for file in ingested.span_dir.glob("*.tfrecord.gz")}
    assert files == set(manifest["shards"]) == {f"{s}-00000-of-00001.tfrecord.gz" for s in SPLITS}
    for name, shard in manifest["shards"].items():
        assert shard["sha256"] == spans.hash_file(ingested.span_dir / name)
        assert shard["records"] == len(records[name.partition("-")[0]])


def test_rejects_and_conflicts_are_listed(source: Path, ingested: IngestResult) -> None:
    assert read_table(ingested.span_dir / "rejected.csv") == [
        ["path", "reason"],
        ["happy/empty.jpg", "empty file"],
        ["happy/notes, mine.txt", "not a JPEG, PNG, WebP, BMP or GIF image"],
        ["sad/cut.png", "truncated or damaged"],
        ["sad/dangling.jpg", "no such file"],
    ]
    group = hash_pixels(decode_photo((source / "sad/01.png").read_bytes()))
    reason = "the same picture is labelled happy (happy/conflict.png) and sad (sad/01.png)"
    assert read_table(ingested.span_dir / "conflicts.csv") == [
        ["path", "label", "group", "reason", "sha256"],
        [
            "happy/conflict.png",
            "happy",
            group,
            reason,
            spans.hash_file(source / "happy/conflict.png"),
        ],
        ["sad/01.png", "sad", group, reason, spans.hash_file(source / "sad/01.png")],
    ]


def test_progress_counts_every_file(source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    ingest(source, tmp_path, progress=lambda done, total: told.append((done, total)))
    total = 2 * PER_CLASS + 6
    assert told == [(done, total) for done in range(1, total + 1)]


def test_same_photos_again_change_nothing(source: Path, out: Path, later: None) -> None:
    for _ in range(2):  # the first keeps the hashes of photos that were too new before
        before = snapshot(out)
        again = ingest(source, out)
        assert again.cached
        assert again.span_dir == out / "span-1"
    assert snapshot(out) == before


def test_untouched_photos_are_not_read_again(
    source: Path, tmp_path: Path, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(source, tmp_path)
    read: list[Path] = []

    def note(path: Path) -> bytes:
        read.append(path)
        return read_photo(path)

    monkeypatch.setattr("data.photo_hashes.read_photo", note)
    assert ingest(source, tmp_path).cached
    assert read == [source / "sad/dangling.jpg"]  # what could not be read is tried again


@pytest.fixture
def copied(source: Path, tmp_path: Path) -> Path:
    """The photos, to change."""
    return Path(shutil.copytree(source, tmp_path / "photos", symlinks=True))


def test_photos_of_the_same_content_are_the_same_whatever_their_time(
    copied: Path, out: Path, later: None
) -> None:
    assert ingest(copied, out).cached
    (copied / "sad/05.png").touch()
    shutil.copy(copied / "sad/06.png", copied / "sad/new")
    (copied / "sad/new").replace(copied / "sad/06.png")
    assert ingest(copied, out).cached


def test_photos_that_swap_their_names_are_noticed(copied: Path, out: Path, later: None) -> None:
    """Their size and time are the same."""
    happy, sad, aside = copied / "happy/03.png", copied / "sad/03.png", copied / "aside"
    assert happy.stat().st_size == sad.stat().st_size
    for file in (happy, sad):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    span = ingest(copied, out).span_dir
    happy.rename(aside)
    sad.rename(happy)
    aside.rename(sad)
    result = ingest(copied, out)
    assert result.span_dir != span
    held = {
        record[features.FILENAME].decode(): record[features.SHA256].decode()
        for records in read_records(result.span_dir).values()
        for record in records
    }
    assert held["happy/03.png"] == spans.hash_file(happy)
    assert held["sad/03.png"] == spans.hash_file(sad)


def test_photo_that_can_be_read_again_is_used_again(
    copied: Path, out: Path, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stood in the way, the file may look the same as before."""
    photo, read_bytes = copied / "sad/07.png", Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == photo:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        result = ingest(copied, out)
        assert ["sad/07.png", "cannot be read (Permission denied)"] in read_table(
            result.span_dir / "rejected.csv"
        )
        assert ingest(copied, out).cached
    result = ingest(copied, out)
    assert not result.cached
    assert result.rejected == 4


def test_photo_that_memory_lacked_for_is_tried_again(
    copied: Path, tmp_path: Path, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "records"
    photo = (copied / "sad/07.png").read_bytes()

    def fail(content: bytes) -> object:
        if content == photo:
            raise MemoryShortageError("not enough memory to decode it")
        return prepare_photo(content)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "prepare_photo", fail)
        result = ingest(copied, out)
    assert ["sad/07.png", "not enough memory to decode it"] in read_table(
        result.span_dir / "rejected.csv"
    )
    result = ingest(copied, out)
    assert not result.cached
    assert result.rejected == 4


def test_photo_that_changes_while_it_is_prepared(
    copied: Path, tmp_path: Path, draw_noise: Draw, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span never claims to hold what it was not made from."""
    out = tmp_path / "records"
    photo = copied / "sad/08.png"
    original = photo.read_bytes()

    def change_first(content: bytes) -> object:
        if content == original:
            draw_noise(photo, 9000)
        return prepare_photo(content)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "prepare_photo", change_first)
        assert not ingest(copied, out).cached
    assert not ingest(copied, out).cached
    assert ingest(copied, out).cached


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}'])
def test_damaged_hashes_are_made_anew(source: Path, out: Path, later: None, text: str) -> None:
    assert ingest(source, out).cached
    hashes = out / "photo-hashes.json"
    whole = hashes.read_text()
    hashes.write_text(text)
    assert ingest(source, out).cached
    assert hashes.read_text() == whole


def test_hash_of_a_photo_just_written_is_not_kept(
    copied: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a coarse clock it may change again and look the same."""
    hashes = out / "photo-hashes.json"
    (copied / "sad/09.png").touch()
    assert ingest(copied, out).cached
    assert not hashes.exists() or "sad/09.png" not in hashes.read_text()
    monkeypatch.setattr("data.photo_hashes.SETTLED_NS", 0)
    assert ingest(copied, out).cached
    assert "sad/09.png" in hashes.read_text()


def test_shards_are_the_same_bytes_wherever_they_are_written(
    source: Path, ingested: IngestResult, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "moved", symlinks=True))
    second = ingest(copy, tmp_path / "records")
    for file in ingested.span_dir.glob("*.tfrecord.gz"):
        assert spans.hash_file(file) == spans.hash_file(second.span_dir / file.name)


def test_photos_keep_their_split_when_others_are_added(
    source: Path, out: Path, tmp_path: Path, draw_noise: Draw
) -> None:
    grown = Path(shutil.copytree(source, tmp_path / "grown", symlinks=True))
    for index in range(30):
        draw_noise(grown / "happy" / f"new {index}.png", 5000 + index)
    second = ingest(grown, out)
    assert second.span_dir == out / "span-2"
    assert not second.cached
    assert splits_of(out / "span-1").items() <= splits_of(second.span_dir).items()


@pytest.fixture
def scenes(tmp_path: Path, draw_scene: Callable[[int], Pixels]) -> Path:
    """Two classes of 60 photos that have features, written as PNG."""
    folder = tmp_path / "scenes"
    for number, label in enumerate(("happy", "sad")):
        (folder / label).mkdir(parents=True)
        for index in range(PER_CLASS):
            save_png(folder / label / f"{index:02d}.png", draw_scene(1000 * number + index))
    return folder


def save_png(file: Path, pixels: Pixels) -> None:
    Image.fromarray(np.ascontiguousarray(pixels)).save(file)


def add_near_duplicates(folder: Path, draw_scene: Callable[[int], Pixels]) -> dict[str, str]:
    """Changed copies of photos of that folder; which is a copy of which."""
    copies = {}
    for index in range(20):
        scene = draw_scene(index)
        for name, changed in {
            "reduced": cv2.resize(scene, (150, 125), interpolation=cv2.INTER_AREA),
            "mirrored": scene[:, ::-1],
            "cropped": scene[8:, :-6],
        }.items():
            save_png(folder / "happy" / f"{index:02d} {name}.png", np.asarray(changed, np.uint8))
            copies[f"happy/{index:02d} {name}.png"] = f"happy/{index:02d}.png"
    return copies


def splits_of(span: Path) -> dict[str, str]:
    """The split of each photo in a span's records."""
    return {
        record[features.FILENAME].decode(): split
        for split, records in read_records(span).items()
        for record in records
    }


def test_near_duplicates_share_a_split(
    scenes: Path, tmp_path: Path, draw_scene: Callable[[int], Pixels]
) -> None:
    copies = add_near_duplicates(scenes, draw_scene)
    result = ingest(scenes, tmp_path / "records")
    splits = splits_of(result.span_dir)
    assert len(splits) == 2 * PER_CLASS + len(copies)
    assert {splits[copy] == splits[original] for copy, original in copies.items()} == {True}
    assert (result.alike.photos, result.alike.groups) == (80, 20)
    assert result.alike.expected_false
    assert 0 < result.alike.expected_false < 1
    groups = {
        record[features.FILENAME].decode(): record[features.GROUP]
        for records in read_records(result.span_dir).values()
        for record in records
    }
    assert all(groups[copy] == groups[original] for copy, original in copies.items())


def test_near_duplicates_that_are_added_take_the_split_that_is_there(
    scenes: Path, tmp_path: Path, draw_scene: Callable[[int], Pixels]
) -> None:
    before = splits_of(ingest(scenes, tmp_path / "records").span_dir)
    copies = add_near_duplicates(scenes, draw_scene)
    after = splits_of(ingest(scenes, tmp_path / "records").span_dir)
    assert before.items() <= after.items()
    assert all(after[copy] == before[original] for copy, original in copies.items())


def test_near_duplicates_with_two_labels_are_left_out(
    scenes: Path, tmp_path: Path, draw_scene: Callable[[int], Pixels]
) -> None:
    save_png(scenes / "sad" / "mirrored.png", draw_scene(3)[:, ::-1])
    span = ingest(scenes, tmp_path / "records").span_dir
    _, *rows = read_table(span / "conflicts.csv")
    assert [(name, label, reason) for name, label, _, reason, _ in rows] == [
        ("happy/03.png", "happy", "a near-duplicate of sad/mirrored.png, which is labelled sad"),
        ("sad/mirrored.png", "sad", "a near-duplicate of happy/03.png, which is labelled happy"),
    ]
    assert not {"happy/03.png", "sad/mirrored.png"} & splits_of(span).keys()


def test_a_damaged_table_of_photos_is_named(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "records"
    span = ingest(scenes, out).span_dir
    (span / "photos.csv").write_text("path,label\n")
    (scenes / "happy/00.png").unlink()
    with pytest.raises(DataError, match=r"photos\.csv is missing or damaged: delete .*span-1"):
        ingest(scenes, out)


def test_a_span_may_hold_only_what_is_new(
    scenes: Path, tmp_path: Path, draw_scene: Callable[[int], Pixels]
) -> None:
    out = tmp_path / "records"
    first = ingest(scenes, out, span=1)
    before = snapshot(first.span_dir)
    splits = splits_of(first.span_dir)
    copies = add_near_duplicates(scenes, draw_scene)
    save_png(scenes / "sad/conflict.png", draw_scene(30)[:, ::-1])
    save_png(scenes / "sad/new.png", draw_scene(5000))
    second = ingest(scenes, out, span=2)
    added = splits_of(second.span_dir)
    assert second.span == 2
    assert (second.earlier, second.conflicts) == (2 * PER_CLASS, 1)
    assert added.keys() == {*copies, "sad/new.png"}
    assert all(added[copy] == splits[original] for copy, original in copies.items())
    assert snapshot(first.span_dir) == before
    assert ingest(scenes, out, span=2).cached
    with pytest.raises(DataError, match="no photo is new"):
        ingest(scenes, out, span=3)
    assert [span.name for span in spans.list_spans(out)] == ["span-1", "span-2"]


@pytest.fixture
def until_week(tmp_path: Path, draw_noise: Draw) -> Callable[[int], Path]:
    """A folder to which the photos of one week after the other come, 25 of each class."""
    folder = tmp_path / "photos"

    def until(week: int) -> Path:
        for number, label in enumerate(("happy", "sad")):
            for index in range(25):
                draw_noise(
                    folder / label / f"{week}-{index:02d}.png", 1000 * week + 50 * number + index
                )
        return folder

    return until


def weeks_of(span: Path) -> Counter[str]:
    """How many photos of each week a span holds."""
    return Counter(Path(name).name.partition("-")[0] for name in splits_of(span))


def test_a_window_holds_the_photos_that_came_with_the_last_spans(
    until_week: Callable[[int], Path], tmp_path: Path, later: None
) -> None:
    out = tmp_path / "records"
    found = [ingest(until_week(week), out, last_spans=2) for week in (1, 2, 3)]
    assert [weeks_of(each.span_dir) for each in found] == [
        {"1": 50},
        {"1": 50, "2": 50},
        {"2": 50, "3": 50},
    ]
    assert [each.older for each in found] == [0, 0, 50]
    again = ingest(until_week(3), out, last_spans=2)
    assert (again.cached, again.older) == (True, 50)

    decide(tmp_path / "photos/relabels.csv", tmp_path / "photos/sad/2-00.png", "")
    (tmp_path / "photos/sad/broken.png").write_bytes(b"no photo")
    corrected = ingest(until_week(3), out, last_spans=2)
    assert weeks_of(corrected.span_dir) == {"2": 49, "3": 50}  # it brought no photo
    assert corrected.rejected == 1

    for earlier in (1, 2, 3):
        shutil.rmtree(out / f"span-{earlier}")
    assert weeks_of(ingest(until_week(4), out, last_spans=2).span_dir).keys() == {"3", "4"}
    every = ingest(until_week(4), out)
    assert ({*weeks_of(every.span_dir)}, every.older) == ({"1", "2", "3", "4"}, 0)


def test_a_window_over_spans_from_before_there_was_one(
    until_week: Callable[[int], Path], tmp_path: Path, later: None
) -> None:
    out = tmp_path / "records"
    for week in (1, 2):
        ingest(until_week(week), out)
    third = ingest(until_week(3), out, last_spans=2)
    assert (weeks_of(third.span_dir), third.older) == ({"2": 50, "3": 50}, 50)


def test_a_window_without_a_class_and_one_over_what_is_new_are_refused(
    until_week: Callable[[int], Path], tmp_path: Path, draw_noise: Draw
) -> None:
    out = tmp_path / "records"
    photos = until_week(1)
    ingest(photos, out)
    draw_noise(photos / "sad/new.png", 9000)
    with pytest.raises(
        DataError, match=r"data\.window = 1: no photo of happy came with the last 1"
    ):
        ingest(photos, out, last_spans=1)
    with pytest.raises(UsageError, match="leave one of them out"):
        ingest(photos, out, span=2, last_spans=1)


def test_a_damaged_table_of_a_window_is_named(
    until_week: Callable[[int], Path], tmp_path: Path
) -> None:
    out = tmp_path / "records"
    ingest(until_week(1), out, last_spans=2)
    (out / "span-1/first-seen.csv").write_text("sha256\n")
    with pytest.raises(DataError, match=r"first-seen\.csv is missing or damaged: delete .*span-1"):
        ingest(until_week(2), out, last_spans=2)


def test_a_span_that_exists_is_not_rewritten(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "records"
    ingest(scenes, out, span=1)
    (scenes / "happy/00.png").unlink()
    with pytest.raises(DataError, match=r"span-1 cannot be written .* the next one is span-2"):
        ingest(scenes, out, span=1)
    with pytest.raises(DataError, match=r"span-7 cannot be written .* the next one is span-2"):
        ingest(scenes, out, span=7)


def decide(file: Path, photo: Path, to: str) -> None:
    relabels.append(
        file,
        Relabel(spans.hash_file(photo), photo.parent.name, to, "", datetime.now(UTC)),
    )


def test_labels_decided_in_review_are_honoured_and_splits_stay(
    scenes: Path, tmp_path: Path, later: None
) -> None:
    out = tmp_path / "records"
    before = splits_of(ingest(scenes, out).span_dir)
    decide(scenes / "relabels.csv", scenes / "happy/00.png", "sad")
    decide(scenes / "relabels.csv", scenes / "happy/01.png", "")
    decide(scenes / "relabels.csv", scenes / "happy/02.png", "happy")
    result = ingest(scenes, out)
    assert result.span == 2
    assert result.relabelled == 2
    after = splits_of(result.span_dir)
    assert before.keys() - after.keys() == {"happy/01.png"}
    assert after.items() <= before.items()
    labels = {
        record[features.FILENAME].decode(): record[features.LABEL].decode()
        for records in read_records(result.span_dir).values()
        for record in records
    }
    assert labels["happy/00.png"] == "sad"
    assert read_table(result.span_dir / "conflicts.csv")[1][3] == "left out by relabels.csv"
    manifest = json.loads((result.span_dir / "manifest.json").read_text())
    assert manifest["relabelled"] == 2
    assert manifest["relabels_sha256"] == spans.hash_file(scenes / "relabels.csv")
    assert ingest(scenes, out).cached


def test_a_decision_ends_a_conflict(source: Path, tmp_path: Path) -> None:
    """It is about what is in a file, and both have the same."""
    decide(tmp_path / "mine.csv", source / "happy/conflict.png", "sad")
    result = ingest(source, tmp_path / "records", decisions=tmp_path / "mine.csv")
    assert (result.conflicts, result.relabelled) == (0, 1)
    assert {"happy/conflict.png", "sad/01.png"} <= splits_of(result.span_dir).keys()


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The contents of the photos that are decoded and encoded from now on."""
    contents: list[bytes] = []

    def note(content: bytes) -> object:
        contents.append(content)
        return prepare_photo(content)

    monkeypatch.setattr(shards, "prepare_photo", note)
    return contents


def contents(span: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in span.iterdir()}


def test_only_what_no_span_holds_is_prepared_and_nothing_else_differs(
    scenes: Path,
    tmp_path: Path,
    draw_scene: Callable[[int], Pixels],
    later: None,
    prepared: list[bytes],
) -> None:
    out = tmp_path / "records"
    add_near_duplicates(scenes, draw_scene)
    Image.fromarray(draw_scene(6000)).resize((1300, 700)).save(scenes / "happy/large.jpg")
    shutil.copy(scenes / "sad/05.png", scenes / "sad/copy.png")
    shutil.copy(scenes / "sad/06.png", scenes / "happy/conflict.png")
    (scenes / "sad/empty.png").touch()
    ingest(scenes, out)
    decide(scenes / "relabels.csv", scenes / "happy/50.png", "sad")
    decide(scenes / "relabels.csv", scenes / "sad/51.png", "")
    (scenes / "sad/52.png").unlink()
    (scenes / "happy/53.png").rename(scenes / "sad/moved.png")
    save_png(scenes / "sad/new.png", draw_scene(5000))
    prepared.clear()
    second = ingest(scenes, out)
    new = [scenes / name for name in ("sad/empty.png", "sad/new.png")]
    in_conflict = [scenes / name for name in ("sad/06.png", "happy/conflict.png")]
    assert sorted(prepared) == sorted(file.read_bytes() for file in (*new, *in_conflict))
    fresh = ingest(scenes, tmp_path / "fresh")
    assert contents(second.span_dir) == contents(fresh.span_dir)
    assert (second.counts, second.relabelled, second.remarks) == (fresh.counts, 2, ())


def test_photos_of_several_spans_are_taken_from_each(
    scenes: Path,
    tmp_path: Path,
    draw_scene: Callable[[int], Pixels],
    later: None,
    prepared: list[bytes],
) -> None:
    out = tmp_path / "records"
    ingest(scenes, out, span=1)
    save_png(scenes / "sad/new.png", draw_scene(5000))
    ingest(scenes, out, span=2)
    save_png(scenes / "sad/newer.png", draw_scene(5001))
    prepared.clear()
    added = ingest(scenes, out, span=3)
    assert splits_of(added.span_dir).keys() == {"sad/newer.png"}
    assert prepared == [(scenes / "sad/newer.png").read_bytes()]
    prepared.clear()
    everything = ingest(scenes, out)
    assert not prepared
    assert contents(everything.span_dir) == contents(ingest(scenes, tmp_path / "fresh").span_dir)


def test_what_other_code_has_prepared_is_not_taken_over(
    source: Path, out: Path, later: None, prepared: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "99" if name == "opencv-python-headless" else version(name),
    )
    result = ingest(source, out)
    assert len(prepared) == 2 * PER_CLASS + 5
    assert result.remarks == ()


def test_a_damaged_span_gives_nothing_and_is_named(
    copied: Path, out: Path, later: None, prepared: list[bytes]
) -> None:
    shard = out / "span-1/train-00000-of-00001.tfrecord.gz"
    os.truncate(shard, 50)
    (copied / "sad/03.png").unlink()
    result = ingest(copied, out)
    assert len(prepared) == 2 * PER_CLASS + 4
    (remark,) = result.remarks
    assert remark.startswith(f"nothing is taken over from span-1: {shard} is missing or damaged")


def make_old(span: Path) -> None:
    """As spans were before near-duplicates were looked for: without a table of their photos, and
    each picture in a group of its own, whose hash decides about its split."""
    table = read_table(span / "photos.csv")[1:]
    pixels = {sha256: pixels for _, _, _, _, pixels, sha256 in table}
    records = []
    for file in span.glob("*.tfrecord.gz"):
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            values = example.features.feature
            own = pixels[values[features.SHA256].bytes_list.value[0].decode()]
            values[features.GROUP].bytes_list.value[:] = [own.encode()]
            records.append((splits.choose_split(own), example.SerializeToString()))
    manifest = json.loads((span / "manifest.json").read_text())
    for name, shard in manifest["shards"].items():
        with tf.io.TFRecordWriter(str(span / name), "GZIP") as writer:
            for split, content in records:
                if name.startswith(split):
                    writer.write(content)
        shard["sha256"] = spans.hash_file(span / name)
    manifest["input"] = manifest.pop("code")[::-1]
    (span / "manifest.json").write_text(json.dumps(manifest))
    (span / "photos.csv").unlink()
    (span / "perceptual-hashes.npy").unlink()


def test_splits_of_spans_without_a_table_are_kept(
    scenes: Path, tmp_path: Path, draw_scene: Callable[[int], Pixels], later: None
) -> None:
    """What was tested with stays out of training, though near-duplicates are known only now."""
    out = tmp_path / "records"
    copies = add_near_duplicates(scenes, draw_scene)
    first = ingest(scenes, out).span_dir
    make_old(first)
    before = splits_of(first)
    assert {before[copy] == before[original] for copy, original in copies.items()} == {True, False}
    second = ingest(scenes, out)
    after = splits_of(second.span_dir)
    assert after.items() <= before.items()
    assert len(after) > 2 * PER_CLASS - len(copies)
    assert second.remarks == ()


def test_splits_that_cannot_be_kept_are_said(scenes: Path, tmp_path: Path, later: None) -> None:
    out = tmp_path / "records"
    first = ingest(scenes, out).span_dir
    make_old(first)
    os.truncate(first / "test-00000-of-00001.tfrecord.gz", 50)
    (remark,) = ingest(scenes, out).remarks
    assert remark.startswith("the splits of span-1 are not kept: ")


def test_decisions_about_photos_of_earlier_spans_are_counted_apart(
    scenes: Path, tmp_path: Path, draw_scene: Callable[[int], Pixels], later: None
) -> None:
    out, decisions = tmp_path / "records", scenes / "relabels.csv"
    decide(decisions, scenes / "happy/00.png", "sad")  # honoured in the first span
    ingest(scenes, out, span=1)
    save_png(scenes / "sad/new.png", draw_scene(5000))
    save_png(scenes / "sad/newer.png", draw_scene(5001))
    decide(decisions, scenes / "happy/01.png", "sad")
    decide(decisions, scenes / "happy/02.png", "")
    decide(decisions, scenes / "sad/new.png", "happy")
    second = ingest(scenes, out, span=2)
    assert (second.relabelled, second.held_otherwise) == (1, 2)
    everything = ingest(scenes, out)
    assert (everything.relabelled, everything.held_otherwise) == (4, 0)


def test_a_photo_that_is_moved_after_a_decision_has_the_label_of_its_new_folder(
    scenes: Path, tmp_path: Path, later: None
) -> None:
    (scenes / "calm").mkdir()
    for index in range(30):
        (scenes / f"happy/{index + 30}.png").rename(scenes / f"calm/{index + 30}.png")
    decide(scenes / "relabels.csv", scenes / "happy/00.png", "happy")
    decide(scenes / "relabels.csv", scenes / "happy/01.png", "sad")
    decide(scenes / "relabels.csv", scenes / "happy/02.png", "sad")
    decide(scenes / "relabels.csv", scenes / "happy/03.png", "")
    for index in (0, 1, 3):
        (scenes / f"happy/0{index}.png").rename(scenes / f"calm/moved{index}.png")
    (scenes / "happy/02.png").rename(scenes / "sad/moved2.png")
    for _ in range(2):  # the second is cached
        result = ingest(scenes, tmp_path / "records")
        assert result.unheeded == (
            "calm/moved0.png (decided as happy: happy; now calm)",
            "calm/moved1.png (decided as happy: sad; now calm)",
            "calm/moved3.png (decided as happy: left out; now calm)",
        )
    labels = {name: label for name, label, *_ in span_photos.read_table(result.span_dir)}
    assert [labels[f"calm/moved{index}.png"] for index in (0, 1, 3)] == ["calm"] * 3
    assert labels["sad/moved2.png"] == "sad"


def test_a_renamed_class_takes_its_photos_along_and_locks_nobody_out(
    scenes: Path, tmp_path: Path
) -> None:
    decide(scenes / "relabels.csv", scenes / "happy/00.png", "happy")
    decide(scenes / "relabels.csv", scenes / "sad/00.png", "happy")
    (scenes / "happy").rename(scenes / "jolly")
    result = ingest(scenes, tmp_path / "records")
    labels = {name: label for name, label, *_ in span_photos.read_table(result.span_dir)}
    assert labels["jolly/00.png"] == "jolly"
    assert "sad/00.png" not in labels  # someone found its label wrong
    assert result.unheeded == (
        "jolly/00.png (decided as happy: happy; now jolly)",
        "sad/00.png (left out: happy is no class now)",
    )
    (row,) = span_photos.read_conflicts(result.span_dir)
    assert row[:2] == ["sad/00.png", "sad"]
    assert row[3:] == [
        "labelled happy in review, which is no class",
        spans.hash_file(scenes / "sad/00.png"),
    ]


def test_the_manifest_names_the_decisions_that_were_read_even_if_more_are_made_meanwhile(
    scenes: Path, tmp_path: Path
) -> None:
    table = scenes / "relabels.csv"
    decide(table, scenes / "happy/00.png", "sad")
    before = spans.hash_file(table)

    def decide_meanwhile(done: int, total: int) -> None:
        decide(table, scenes / "happy/01.png", "sad")

    result = ingest(scenes, tmp_path / "records", progress=decide_meanwhile)
    manifest = json.loads((result.span_dir / "manifest.json").read_text())
    assert spans.hash_file(table) != before
    assert manifest["relabels_sha256"] == before


def test_photos_too_plain_to_compare_are_counted(scenes: Path, tmp_path: Path) -> None:
    for grey in (90, 140):
        save_png(scenes / f"sad/plain {grey}.png", np.full((64, 64, 3), grey, np.uint8))
    result = ingest(scenes, tmp_path / "records")
    assert result.alike.featureless == 2
    manifest = json.loads((result.span_dir / "manifest.json").read_text())
    assert manifest["alike"]["featureless"] == 2


def test_decisions_that_are_not_there_are_an_error(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no decisions about labels at .*mine\.csv"):
        ingest(scenes, tmp_path / "records", decisions=tmp_path / "mine.csv")


def test_many_photos_fill_several_shards(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.ingest.PHOTOS_PER_SHARD", 25)
    result = ingest(source, tmp_path)
    for split, records in read_records(result.span_dir).items():
        total = math.ceil(len(records) / 25)
        names = [file.name for file in sorted(result.span_dir.glob(f"{split}-*"))]
        assert names == [f"{split}-{n:05d}-of-{total:05d}.tfrecord.gz" for n in range(total)]


def test_table_instead_of_folders(source: Path, ingested: IngestResult, tmp_path: Path) -> None:
    rows = [
        f"{file.relative_to(source)},{file.parent.name}\n"
        for file in sorted(source.glob("*/*.png"))
    ]
    table = source / "photos.csv"
    table.write_text("path,label\n" + "".join(rows) + "gone.jpg,sad\n")
    result = ingest(table, tmp_path)
    assert result.counts == ingested.counts
    assert ["gone.jpg", "no such file"] in read_table(result.span_dir / "rejected.csv")


@pytest.mark.parametrize("spoil", [lambda file: file.unlink(), lambda file: os.truncate(file, 50)])
def test_damaged_shard_is_named(source: Path, out: Path, spoil: Callable[[Path], None]) -> None:
    shard = out / "span-1/val-00000-of-00001.tfrecord.gz"
    good = spans.hash_file(shard)
    spoil(shard)
    with pytest.raises(DataError, match=rf"{shard} is missing or damaged: delete {shard.parent}"):
        ingest(source, out)
    shutil.rmtree(shard.parent)
    assert not ingest(source, out).cached
    assert spans.hash_file(shard) == good


def test_shard_that_does_not_belong_to_its_span_is_named(source: Path, out: Path) -> None:
    """All shards in the span are read: a copy of one would be trained on twice."""
    shard = out / "span-1/train-00000-of-00001.tfrecord.gz"
    copy = shard.with_name("train-00000-of-00001 (copy).tfrecord.gz")
    shutil.copy(shard, copy)
    with pytest.raises(DataError, match=rf"^{re.escape(str(copy))} is not part of its span: move"):
        ingest(source, out)
    copy.unlink()
    assert ingest(source, out).cached


def test_too_many_rejects_stop_and_list_them(source: Path, out: Path) -> None:
    before = snapshot(out)
    table = out / "rejected.csv"
    message = rf"^4 of 126 .* more than the 1% .*; the rejected files are listed in {table}$"
    with pytest.raises(DataError, match=message):
        ingest(source, out, max_reject_share=0.01)
    assert len(read_table(table)) == 5
    table.unlink()
    assert snapshot(out) == before

    for share, span in ((0.2, "span-1"), (0.5, "span-2")):
        with pytest.raises(DataError, match="more than the 1%"):
            ingest(source, out, max_reject_share=0.01)
        assert ingest(source, out, max_reject_share=share).span_dir == out / span
        assert not table.exists()


def test_too_few_photos_stop(source: Path, tmp_path: Path) -> None:
    for index in range(20, PER_CLASS):
        file = tmp_path / "photos/sad" / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / f"sad/{index}.png", file)
    for index in range(19):
        file = tmp_path / "photos/happy" / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / f"happy/{index:02d}.png", file)
    with pytest.raises(DataError, match="'happy' has 19 usable photos, 20 are needed: add 1 more"):
        ingest(tmp_path / "photos", tmp_path / "records")
    assert not list((tmp_path / "records").iterdir())


def test_full_disk_is_one_line(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = snapshot(out)
    for step in ("data.shards.Path.write_bytes", "data.shards.tf.io.TFRecordWriter"):
        with monkeypatch.context() as patch:
            patch.setattr(step, refuse)
            with pytest.raises(
                DataError, match=rf"^cannot write to {out}: No space left on device$"
            ):
                ingest(source, out, max_reject_share=0.3)
        assert snapshot(out) == before
    assert "Traceback" not in capfd.readouterr().err


def test_out_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"^cannot write to .*/file/records: Not a directory$"):
        ingest(source, tmp_path / "file/records")


def test_out_inside_the_photos_is_refused(source: Path) -> None:
    with pytest.raises(UsageError, match="is inside"):
        ingest(source, source / "records")
    assert not (source / "records").exists()


def test_photos_may_lie_where_the_path_is_not_text(
    source: Path, ingested: IngestResult, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9 [1] {SPAN}\n?*")
    shutil.copytree(source, odd, symlinks=True)
    (odd / "sad/10.png").rename(odd / "sad" / os.fsdecode(b"\xe9[1].png"))
    assert ingest(odd, tmp_path / "records").counts == ingested.counts


def test_interrupted_run_leaves_no_span_and_the_next_one_works(
    source: Path, ingested: IngestResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    for step in ("prepare_photo", "_to_example"):
        with monkeypatch.context() as patch:
            patch.setattr(shards, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                ingest(source, tmp_path)
        assert not list(tmp_path.iterdir())
    assert ingest(source, tmp_path).counts == ingested.counts


def test_every_module_of_the_room_decides_about_records_or_does_not() -> None:
    """A new module has to be put where it belongs: an edit of some must give a new span."""
    others = {
        "__init__.py",
        "drawn_dogs.py",
        "contract/beam.py",
        "contract/errors.py",
        "contract/labels.py",
        "contract/feedback.py",
        "contract/model.py",
        "contract/nodes.py",
        "contract/progress.py",
        "contract/servable.py",
        "contract/service.py",
        "contract/verdict.py",
        "contract/whole_files.py",
        "errors.py",
        "feedback.py",
        "folder.py",  # the names and labels it finds are in the fingerprint themselves
        "padding.py",
        "photo_hashes.py",
        "served.py",
        "spans.py",
        "window.py",  # the photos that it leaves in are in the fingerprint
    }
    assert not others & {*RECORD_MODULES}
    room = Path(data.__file__).parent
    modules = {
        file.relative_to(room).as_posix()
        for file in room.rglob("*.py")
        if file != room / "contract/__init__.py"
    }
    assert modules == others | {*RECORD_MODULES}


@pytest.mark.parametrize("tool", ["opencv-python-headless", "pillow"])
def test_another_version_of_what_reads_photos_gives_a_new_span(
    source: Path, out: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "99" if name == tool else version(name)
    )
    assert not ingest(source, out).cached


@pytest.mark.photos
def test_real_photos(dog_photos: Path, tmp_path: Path) -> None:
    result = ingest(dog_photos, tmp_path)
    assert result.classes == ("angry", "happy", "relaxed", "sad")
    assert (result.rejected, result.conflicts) == (0, 82)
    sizes = {split: sum(result.counts[split].values()) for split in SPLITS}
    assert sizes == {"train": 2817, "val": 577, "test": 606}
    groups = [
        {record[features.GROUP] for record in records}
        for records in read_records(result.span_dir).values()
    ]
    assert sum(map(len, groups)) == len(set().union(*groups))
    photo = next(dog_photos.glob("sad/*"))
    content = photo.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest().encode()
    stored = {
        record[features.SHA256]: record[features.IMAGE]
        for records in read_records(result.span_dir).values()
        for record in records
    }
    assert decode_photo(stored[sha256]).shape == decode_photo(content).shape
