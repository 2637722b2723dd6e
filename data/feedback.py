"""What people said of answers as candidates for training: read, and taken among the photos."""

import hashlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from data.contract.errors import UsageError
from data.contract.feedback import RECORD, Feedback, claimed, is_photo
from data.errors import DataError
from data.photos import read_photo

UNFINISHED = ".unfinished-feedback"
"""In a class folder; names that begin with a dot are nobody's photos."""


@dataclass(frozen=True)
class Settled:
    """What became of the feedback that was decided on."""

    taken: int
    """Photos that lie in the class folders now."""
    left_out: int
    """Photos that are gone."""


def read_feedback(folder: Path) -> tuple[list[Feedback], list[str]]:
    """The feedback in a folder, the oldest first.

    Returns:
        The feedback, and a line about each that is damaged.

    Raises:
        UsageError: there is no such folder.
        DataError: it cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"--feedback {folder}: there is no such folder; `serve` makes it")
    found, remarks = [], []
    try:
        for file in sorted(folder.glob(f"*{RECORD}")):
            try:
                feedback = Feedback.from_json(file.read_text(encoding="utf-8"))
                if hashlib.sha256(read_photo(folder / feedback.photo)).hexdigest() != file.stem:
                    raise ValueError(f"{feedback.photo} is another photo")
                found.append(feedback)
            except (ValueError, DataError) as error:
                remarks.append(f"{file} is left aside: {error}")
    except OSError as error:
        raise DataError(f"cannot read {error.filename or folder}: {error.strerror}") from error
    return sorted(found, key=lambda each: (each.when, each.sha256)), remarks


def settle(
    folder: Path,
    source: Path,
    candidates: Collection[Feedback],
    decide: Callable[[str], str | None],
) -> Settled:
    """Takes out of a folder of feedback what has been decided on.

    A photo with a label goes to the folder of that class, under the name of its hash; one that is
    left out is deleted. It can be killed at any point: done again, it comes to the same. Photos
    without a record, which a kill has left, are deleted first.

    Args:
        folder: of the feedback.
        source: class folders.
        candidates: feedback that is in the folder.
        decide: the label of the photo with a hash, empty to leave it out, None if nobody has
            decided.

    Raises:
        DataError: a file cannot be written or deleted.
    """
    taken = left_out = 0
    try:
        with claimed(folder):
            for photo in _without_record(folder):
                photo.unlink()
            for each in candidates:
                label = decide(each.sha256)
                if label is None:
                    continue
                if label:
                    _copy(folder / each.photo, source / label / each.photo)
                    taken += 1
                else:
                    left_out += 1
                (folder / (each.sha256 + RECORD)).unlink()
                (folder / each.photo).unlink()
    except OSError as error:
        raise DataError(f"cannot write to {error.filename or source}: {error.strerror}") from error
    return Settled(taken, left_out)


def _without_record(folder: Path) -> list[Path]:
    """To be asked for under a claim: without one, a server may be about to write the record."""
    return [
        path
        for path in folder.iterdir()
        if is_photo(path) and not path.with_suffix(RECORD).exists()
    ]


def _copy(photo: Path, place: Path) -> None:
    """By one rename: whoever lists the photos meanwhile sees it whole or not at all."""
    unfinished = place.parent / UNFINISHED
    with unfinished.open("wb") as stream:
        stream.write(photo.read_bytes())
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(place)
