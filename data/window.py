"""A window over a folder that grows: only the photos that came with the last few spans."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path

from data import span_photos, spans
from data.audit import Fact
from data.errors import DataError
from data.folder import LabelledPhoto
from data.photos import decode_photo, read_photo

TABLE = "first-seen.csv"
COLUMNS = ("path", "sha256", "span")
"""Of every photo of the source, in the window or not; files that are no photos are left out."""


def read_first_seen(folders: Sequence[Path]) -> dict[str, int]:
    """The number of the first span that came with each photo, by the SHA-256 of its file.

    Args:
        folders: the spans; earlier ones may be gone if those with a window are there.

    Raises:
        DataError: a table is damaged.
    """
    first: dict[str, int] = {}
    for folder in folders:
        for sha256, number in _seen_in(folder):
            first[sha256] = min(number, first.get(sha256, number))
    return first


def _seen_in(folder: Path) -> Iterable[tuple[str, int]]:
    if (folder / TABLE).exists():
        rows = span_photos.read_rows(folder / TABLE, COLUMNS)
        return ((sha256, int(number)) for _, sha256, number in rows)
    if not (folder / span_photos.TABLE).exists():
        return ()  # from before there were such tables
    number = spans.read_number(folder)
    held = (*span_photos.read_table(folder), *span_photos.read_conflicts(folder))
    return ((row[-1], number) for row in held)


def write_first_seen(
    folder: Path, facts: Iterable[Fact], first_seen: Mapping[str, int], coming: int
) -> None:
    """Keeps what `read_first_seen` gives, also when the earlier spans are gone.

    Args:
        folder: the span's.
        facts: about all files of the source; those that are no photos are left out.
        first_seen: from `read_first_seen`.
        coming: the number of this span, which all others came with.
    """
    rows = (
        (fact.name, fact.sha256, first_seen.get(fact.sha256, coming))
        for fact in facts
        if not fact.reason
    )
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def find_within(
    photos: Sequence[LabelledPhoto],
    facts: Sequence[Fact],
    first_seen: Mapping[str, int],
    coming: int,
    last_spans: int,
) -> list[bool]:
    """Whether each photo came with one of the last so many spans.

    Args:
        photos: of the source.
        facts: about them, in the same order.
        first_seen: from `read_first_seen`.
        coming: the number of the span to be written.
        last_spans: how long the window is, from 1.

    Raises:
        DataError: a class would be without photos.
    """
    came_with = [first_seen.get(fact.sha256) for fact in facts]
    numbers = {number for number in came_with if number is not None}
    # A span that brings only files that are no photos brings none.
    if any(
        number is None and _is_photo(photo) for number, photo in zip(came_with, photos, strict=True)
    ):
        numbers.add(coming)
    begin = [0, *sorted(numbers)][-last_spans:][0]
    within = [number is None or number >= begin for number in came_with]
    labels = {photo.label for photo in photos}
    if gone := labels - {photo.label for photo in compress(photos, within)}:
        raise DataError(
            f"data.window = {last_spans}: no photo of {', '.join(sorted(gone))} came with the last "
            f"{last_spans} spans; take a longer window"
        )
    return within


def _is_photo(photo: LabelledPhoto) -> bool:
    try:
        decode_photo(read_photo(photo.path))
    except DataError:
        return False
    return True
