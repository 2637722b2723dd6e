"""A folder with everything in it that a photo folder can hold, good photos among it."""

import csv
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import spans
from data.ingest import IngestResult, ingest
from data.near_duplicates import find_leaders, find_pairs
from data.perceptual_hash import hash_changes
from data.photos import Pixels

Draw = Callable[[int], Pixels]

PER_CLASS = 40
REASONS = {
    "cut.jpg": "truncated or damaged",
    "empty.jpg": "empty file",
    "page.jpg": "not a JPEG, PNG, WebP, BMP or GIF image",
    "drawing.svg": "not a JPEG, PNG, WebP, BMP or GIF image",
    "pipe.jpg": "not a regular file",
    "device.jpg": "not a regular file",
    "gone.jpg": "no such file",
    "loop.jpg": "cannot be read",
    "huge.jpg": "larger than 50 MB",
    "bomb.png": "too many pixels",
    "half.webp": "truncated or damaged",
}
"""What is no photo, and how the reason begins."""
NAMES = ("two\nlines.png", 'quo"ted.png', "com,ma.png", "<script>.png", "=formula.png")
COPIES = 200


def png(image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "PNG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims 10,000 million pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, draw_scene: Draw) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for number, label in enumerate(("happy", "sad")):
        (folder / label).mkdir()
        for index in range(PER_CLASS):
            (folder / label / f"{index}.png").write_bytes(png(draw_scene(1000 * number + index)))
    happy, sad = folder / "happy", folder / "sad"
    scene = Image.fromarray(draw_scene(7000))
    scene.convert("CMYK").save(happy / "cmyk.jpg", "JPEG")
    file = io.BytesIO()
    scene.save(file, "JPEG")
    (happy / "cut.jpg").write_bytes(file.getvalue()[:600])
    file = io.BytesIO()
    scene.save(file, "WEBP")
    (happy / "half.webp").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    (happy / "empty.jpg").touch()
    (happy / "page.jpg").write_text("<html>404</html>")
    (happy / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    os.mkfifo(happy / "pipe.jpg")
    (happy / "device.jpg").symlink_to("/dev/zero")
    (happy / "gone.jpg").symlink_to(folder / "nowhere")
    (happy / "loop.jpg").symlink_to("loop.jpg")
    (happy / "folder.jpg").mkdir()
    with (happy / "huge.jpg").open("wb") as huge:
        huge.truncate(51 * 2**20)
    (happy / "bomb.png").write_bytes(bomb())
    for index, name in enumerate(NAMES):
        (sad / name).write_bytes(png(draw_scene(8000 + index)))
    (sad / os.fsdecode(b"not \xff UTF-8.png")).write_bytes(png(draw_scene(8100)))
    plain = np.full((40, 50, 3), 90, np.uint8)
    for index in range(COPIES):
        (sad / f"copy {index}.png").write_bytes(png(draw_scene(9000)))
        (sad / f"plain {index}.png").write_bytes(png(plain + np.uint8(index % 100)))
    return folder


@pytest.fixture(scope="module")
def ingested(source: Path, tmp_path_factory: pytest.TempPathFactory) -> IngestResult:
    return ingest(source, tmp_path_factory.mktemp("records"))


def rows(table: Path) -> list[list[str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def test_what_is_no_photo_is_rejected_with_its_reason(ingested: IngestResult) -> None:
    found = {Path(name).name: reason for name, reason in rows(ingested.span_dir / "rejected.csv")}
    assert found.keys() == REASONS.keys()
    assert all(found[name].startswith(reason) for name, reason in REASONS.items()), found


def test_odd_names_come_back_as_they_are(ingested: IngestResult) -> None:
    names = {row[0] for row in rows(ingested.span_dir / "photos.csv")}
    assert {f"sad/{name}" for name in NAMES} <= names
    assert "sad/not \ufffd UTF-8.png" in names
    assert "happy/cmyk.jpg" in names


def test_copies_are_one_group_and_plain_surfaces_only_with_their_own(
    ingested: IngestResult,
) -> None:
    groups = {row[0]: row[3] for row in rows(ingested.span_dir / "photos.csv")}
    assert len({groups[f"sad/copy {index}.png"] for index in range(COPIES)}) == 1
    assert len({groups[f"sad/plain {index}.png"] for index in range(COPIES)}) == 100
    splits = {(row[3], row[2]) for row in rows(ingested.span_dir / "photos.csv")}
    assert len(splits) == len(set(groups.values()))


def test_the_same_folder_again_is_unchanged(source: Path, ingested: IngestResult) -> None:
    assert ingest(source, ingested.span_dir.parent).cached
    assert len(spans.list_spans(ingested.span_dir.parent)) == 1


def test_many_photos_that_are_nearly_the_same_are_found_quickly(draw_scene: Draw) -> None:
    """Two thousand frames of one scene are two million pairs; as many as frames are kept."""
    rng = np.random.default_rng(0)
    scene = draw_scene(1)
    frames = [np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255) for _ in range(50)]
    hashes = np.array([hash_changes(frame.astype(np.uint8)) for frame in frames])
    pairs = find_pairs(np.tile(hashes, (40, 1, 1)), 60)
    assert len(pairs.first) == 1_999
    assert len(np.unique(find_leaders(pairs, 2_000))) == 1
