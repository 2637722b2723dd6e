"""Which photos a span holds: a table, and their perceptual hashes beside it."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import spans
from data.audit import Fact
from data.errors import DataError
from data.perceptual_hash import BYTES, HASHES, Hashes

TABLE = "photos.csv"
COLUMNS = ("path", "label", "split", "group", "pixels", "sha256")
CONFLICTS = "conflicts.csv"
CONFLICT_COLUMNS = ("path", "label", "group", "reason", "sha256")
PERCEPTUAL_HASHES = "perceptual-hashes.npy"


@dataclass(frozen=True)
class SpanPhotos:
    """The photos of some spans, a column each, and their hashes uint8 [N, HASHES, 32]."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    pixels: tuple[str, ...]
    sha256s: tuple[str, ...]
    spans: tuple[int, ...]
    hashes: Hashes


NO_PHOTOS = SpanPhotos((), (), (), (), (), (), (), np.zeros((0, HASHES, BYTES), np.uint8))


def write(span: Path, facts: Sequence[Fact], hashes: Hashes) -> None:
    """Describe the photos of a span.

    Args:
        span: its folder.
        facts: about the photos it holds.
        hashes: of the same photos, uint8 [N, HASHES, 32].
    """
    with (span / TABLE).open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        writer.writerows(
            (fact.name, fact.label, fact.split, fact.group, fact.pixels, fact.sha256)
            for fact in facts
        )
    np.save(span / PERCEPTUAL_HASHES, hashes, allow_pickle=False)


def read(folders: Iterable[Path]) -> SpanPhotos:
    """The photos of these spans, in their order.

    Raises:
        DataError: a span does not say what it holds, or is damaged.
    """
    rows, hashes = [], [NO_PHOTOS.hashes]
    for folder in folders:
        found = list(read_table(folder))
        try:
            hashes.append(np.load(folder / PERCEPTUAL_HASHES, allow_pickle=False))
        except (OSError, ValueError):
            hashes.append(NO_PHOTOS.hashes)
        if hashes[-1].shape != (len(found), HASHES, BYTES):
            raise DataError(
                f"{folder / PERCEPTUAL_HASHES} is missing or does not fit {TABLE}: "
                f"delete {folder} and make it again"
            )
        rows += [(*row, spans.read_number(folder)) for row in found]
    names, labels, splits, groups, pixels, sha256s, numbers = (
        zip(*rows, strict=True) if rows else [()] * 7
    )
    joined = np.concatenate(hashes, dtype=np.uint8)
    return SpanPhotos(names, labels, splits, groups, pixels, sha256s, numbers, joined)


def read_splits(folders: Iterable[Path]) -> tuple[dict[str, str], list[str]]:
    """The split of every picture in these spans, by the hash of its pixels.

    Returns:
        The splits, and a line about each span that does not tell them: one from before there were
        such tables, whose records are damaged.

    Raises:
        DataError: a table is damaged.
    """
    splits: dict[str, str] = {}
    remarks = []
    for folder in folders:
        if (folder / TABLE).exists():
            splits |= {pixels: split for _, _, split, _, pixels, _ in read_table(folder)}
            continue
        try:
            splits |= _read_splits_of_records(folder)
        except DataError as error:
            remarks.append(f"the splits of {folder.name} are not kept: {error}")
    return splits, remarks


def _read_splits_of_records(folder: Path) -> dict[str, str]:
    """The same of a span from before there were such tables.

    Raises:
        DataError: the records are damaged.
    """
    from data.records import read_records  # TensorFlow takes seconds

    spans.check_shards(folder, spans.read_manifest(folder)["shards"])
    return {record.group: record.split for record in read_records(folder)}


def read_table(folder: Path) -> Iterator[list[str]]:
    """The rows of a span's table, with the values of `COLUMNS`.

    Raises:
        DataError: it is missing or damaged.
    """
    return read_rows(folder / TABLE, COLUMNS)


def read_conflicts(folder: Path) -> Iterator[list[str]]:
    """The rows of a span's table of conflicts, with the values of `CONFLICT_COLUMNS`.

    Raises:
        DataError: it is missing or damaged.
    """
    return read_rows(folder / CONFLICTS, CONFLICT_COLUMNS)


def read_rows(file: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The rows of one of a span's tables.

    Raises:
        DataError: it is missing, or has other columns.
    """
    try:
        with file.open(encoding="utf-8", newline="") as table:
            header, *rows = list(csv.reader(table, strict=True))
    except (OSError, ValueError, csv.Error):
        header, rows = [], []
    if tuple(header) != tuple(columns) or any(len(row) != len(columns) for row in rows):
        raise DataError(f"{file} is missing or damaged: delete {file.parent} and make it again")
    return iter(rows)
