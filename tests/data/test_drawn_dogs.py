import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data import drawn_dogs
from data.drawn_dogs import EXPRESSIONS, draw_dataset, draw_photo
from data.errors import DataError
from data.folder import list_photos
from data.photos import Pixels, decode_photo


def contents(folder: Path) -> dict[str, bytes]:
    return {photo.name: photo.path.read_bytes() for photo in list_photos(folder)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "dogs"
    draw_dataset(folder, per_class=3, seed=7)
    return folder


def test_four_classes_of_photos_of_many_sizes(drawn: Path) -> None:
    photos = list_photos(drawn)
    labels = [photo.label for photo in photos]
    assert {label: labels.count(label) for label in labels} == {
        "angry": 3,
        "happy": 3,
        "relaxed": 3,
        "sad": 3,
    }
    shapes = [decode_photo(photo.path.read_bytes()).shape for photo in photos]
    assert len(set(shapes)) > 6
    assert all(280 <= side <= 400 for shape in shapes for side in shape[:2])


def test_same_seed_gives_the_same_bytes_and_another_does_not(drawn: Path, tmp_path: Path) -> None:
    draw_dataset(tmp_path / "same", per_class=3, seed=7)
    assert contents(tmp_path / "same") == contents(drawn)
    draw_dataset(tmp_path / "other", per_class=3, seed=8)
    assert not set(contents(tmp_path / "other").values()) & set(contents(drawn).values())


def test_more_pictures_keep_the_first_ones(drawn: Path, tmp_path: Path) -> None:
    draw_dataset(tmp_path / "more", per_class=4, seed=7)
    assert contents(drawn).items() < contents(tmp_path / "more").items()


def test_complete_folder_is_left_alone_and_another_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "dogs"
    draw_dataset(folder, per_class=1, seed=1)
    times = {photo.name: photo.path.stat().st_mtime_ns for photo in list_photos(folder)}
    draw_dataset(folder, per_class=1, seed=1)
    assert times == {photo.name: photo.path.stat().st_mtime_ns for photo in list_photos(folder)}
    before = contents(folder)
    (folder / "sad/sad-0000.jpg").unlink()
    draw_dataset(folder, per_class=1, seed=1)
    assert contents(folder) == before
    draw_dataset(folder, per_class=2, seed=1)
    assert len(list_photos(folder)) == 8


def test_pictures_that_are_not_as_drawn_are_drawn_anew(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dogs"
    draw_dataset(folder, per_class=3, seed=7)
    (folder / "sad/sad-0000.jpg").write_bytes(b"half")
    (folder / "happy/happy-0000.jpg").rename(folder / "aside")
    (folder / "angry/angry-0000.jpg").rename(folder / "happy/happy-0000.jpg")
    (folder / "aside").rename(folder / "angry/angry-0000.jpg")
    draw_dataset(folder, per_class=3, seed=7)
    assert contents(folder) == contents(drawn)
    assert [file.name for file in tmp_path.iterdir()] == ["dogs"]


@pytest.mark.parametrize("name", ["sad/mine.jpg", "bored/bored-0001.jpg", "notes.txt"])
def test_files_of_somebody_else_among_drawn_pictures_are_not_lost(
    tmp_path: Path, name: str
) -> None:
    draw_dataset(tmp_path, per_class=1, seed=1)
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    for per_class in (1, 2):
        with pytest.raises(DataError, match=rf"^{mine} was not drawn: move it away"):
            draw_dataset(tmp_path, per_class=per_class, seed=1)
        assert mine.read_text() == "mine"


def test_drawing_that_fails_leaves_what_was_there(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "dogs"
    shutil.copytree(drawn, folder)

    def fail(label: str, rng: object) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(drawn_dogs, "draw_photo", fail)
    with pytest.raises(DataError, match=rf"^cannot draw into {folder}: No space left on device$"):
        draw_dataset(folder, per_class=4, seed=7)
    assert contents(folder) == contents(drawn)
    assert [file.name for file in tmp_path.iterdir()] == ["dogs"]


def test_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DataError, match="holds no drawn dogs"):
        draw_dataset(tmp_path, per_class=1, seed=1)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot draw into .*: Not a directory"):
        draw_dataset(tmp_path / "file/dogs", per_class=1, seed=1)


def borders(label: str) -> Iterator[Pixels]:
    """The upper edge of pictures, where no dog is."""
    for index in range(12):
        yield decode_photo(draw_photo(label, np.random.default_rng(index)))[:6]


def test_expression_changes_the_face_and_nothing_else() -> None:
    """With the same randomness four classes have one background, size, light and noise."""
    for pictures in zip(*(borders(label) for label in EXPRESSIONS), strict=True):
        assert len({picture.shape for picture in pictures}) == 1
        spread = np.ptp(np.stack(pictures).astype(int), axis=0)
        assert np.median(spread) <= 4
    whole = [decode_photo(draw_photo(label, np.random.default_rng(0))) for label in EXPRESSIONS]
    for first in range(len(whole)):
        for second in range(first):
            assert np.abs(whole[first].astype(int) - whole[second]).mean() > 1
