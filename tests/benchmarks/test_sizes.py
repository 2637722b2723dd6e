from pathlib import Path

import numpy as np
import pytest

from benchmarks.processes import Measured
from benchmarks.sizes import HEADER, Row, draw, drawn_from
from data import span_photos
from data.folder import LabelledPhoto
from data.span_photos import NO_PHOTOS, SpanPhotos


def test_few_photos_hold_no_test_photo_whose_split_another_one_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = SpanPhotos(
        names=("trained", "decides", "follows", "validated"),
        labels=("sad",) * 4,
        splits=("train", "test", "test", "val"),
        groups=("a", "b", "b", "a"),
        pixels=("a", "b", "c", "d"),
        sha256s=("1", "2", "3", "4"),
        spans=(1,) * 4,
        hashes=NO_PHOTOS.hashes,
    )
    monkeypatch.setattr(span_photos, "read", lambda spans: held)
    assert drawn_from(Path("span-1")) == {"trained", "decides", "validated"}


def test_few_photos_are_drawn_evenly_and_the_same_each_time() -> None:
    photos = [
        LabelledPhoto(Path(f"{label}-{number}"), f"{label}-{number}", label)
        for label, count in (("happy", 40), ("sad", 9))
        for number in range(count)
    ]
    drawn = draw(photos, 16)
    assert [photo.label for photo in drawn] == ["happy"] * 8 + ["sad"] * 8
    assert len({photo.name for photo in drawn}) == 16
    assert draw(photos, 16) == drawn


def test_a_row_stands_below_its_header() -> None:
    right = np.array([True] * 300 + [False] * 300)
    row = str(Row(11_082, 7_659, right, 0.4, Measured(999.4, 1_200.2, 3_456.7)))
    assert len(row) == len(HEADER)
    assert row.split() == [
        *("11,082", "7,659", "0.500", "(0.460", "to", "0.540)", "0.400", "999", "1200", "3,457"),
    ]
