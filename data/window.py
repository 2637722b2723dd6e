"""A window over a folder that grows: only the photos that came with the last few spans."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data import span_photos, spans

TABLE = "first-seen.csv"
COLUMNS = ("sha256", "span")


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
        return ((row[0], int(row[1])) for row in span_photos.read_rows(folder / TABLE, COLUMNS))
    if not (folder / span_photos.TABLE).exists():
        return ()  # from before there were such tables
    number = spans.read_number(folder)
    rows = (*span_photos.read_table(folder), *span_photos.read_conflicts(folder))
    return ((row[-1], number) for row in rows)


def write_first_seen(folder: Path, first: Mapping[str, int]) -> None:
    """Keeps what `read_first_seen` gives, also when the earlier spans are gone."""
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        writer.writerows(sorted(first.items()))


def first_span(came_with: Iterable[int], last_spans: int) -> int:
    """The number of the first span in the window.

    Args:
        came_with: for each photo, the number of the span that came with it. A span that brought
            corrections alone does not count.
        last_spans: how long the window is, from 1.
    """
    return [0, *sorted(set(came_with))][-last_spans:][0]
