"""Few photos and many: accuracy on the same test photos, time and memory of a whole run.

    python -m benchmarks.sizes PHOTOS [MORE ...]

The folders hold class folders. The test photos are those that ingestion gives to `test` both of
the first folder and of all of them together. A run each is made of 100 and of 1,000 photos of the
first folder, drawn at random, as many of each class; of that folder; and of all folders together.
Ingestion gives a photo the same split among few as among many, so that no run trains on a test
photo; of those that are nearly the same as another test photo only the one that decides is drawn.
"""

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.exports import is_right, newest_export
from benchmarks.processes import Measured, run_measured
from components.evaluation.chance import wilson_interval
from data import span_photos
from data.contract.errors import Exit
from data.contract.features import TEST, TRAIN
from data.folder import LabelledPhoto, list_photos
from data.records import Record, read_records
from data.spans import list_spans

SMALL = (100, 1_000)
FOLDER = Path("runs") / "sizes"


@dataclass(frozen=True)
class Row:
    """A run, and its model's answers to the test photos."""

    photos: int
    trained_on: int
    right: NDArray[np.bool_]
    least_recall: float
    took: Measured

    def __str__(self) -> str:
        accuracy = self.right.mean()
        low, high = wilson_interval(float(accuracy), len(self.right))
        return (
            f"{self.photos:>7,}{self.trained_on:>12,}{accuracy:>9.3f} ({low:.3f} to {high:.3f})"
            f"{self.least_recall:>14.3f}{self.took.seconds:>9.0f}{self.took.cpu_seconds:>8.0f}"
            f"{self.took.peak_mb:>9,.0f}"
        )


HEADER = " photos  trained on  accuracy (95 % interval)  least recall  seconds   CPU s  peak MB"


def link_photos(photos: Iterable[tuple[str, LabelledPhoto]], folder: Path) -> None:
    """Makes class folders of links to photos, whose names begin with what is given with each."""
    shutil.rmtree(folder, ignore_errors=True)
    for prefix, photo in photos:
        link = folder / photo.label / f"{prefix}{photo.path.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo.path.resolve())


def measure(photos: Path, test: Sequence[Record], workdir: Path) -> Row:
    """Runs the product on a folder and asks its model about the test photos."""
    shutil.rmtree(workdir, ignore_errors=True)
    took = run_measured(
        "run", "--photos", photos, "--workdir", workdir, accepted=(Exit.DONE, Exit.BLOCKED)
    )
    jpegs, labels = zip(*((record.jpeg, record.label) for record in test), strict=True)
    right = is_right(newest_export(workdir), jpegs, labels)
    recalls = [float(right[np.array(labels) == label].mean()) for label in sorted(set(labels))]
    held = span_photos.read([list_spans(workdir / "data")[-1]])
    return Row(
        photos=sum(1 for _ in list_photos(photos)),
        trained_on=held.splits.count(TRAIN),
        right=right,
        least_recall=min(recalls),
        took=took,
    )


def ingested(name: str) -> Path:
    """The span that ingestion makes of one of the folders."""
    records = FOLDER / f"{name}-records"
    shutil.rmtree(records, ignore_errors=True)
    run_measured("data", FOLDER / name, "--out", records)
    return list_spans(records)[-1]


def draw(photos: Sequence[LabelledPhoto], count: int) -> list[LabelledPhoto]:
    """So many photos at random, always the same, and as many of each class."""
    labels = sorted({photo.label for photo in photos})
    shuffled = [photos[place] for place in np.random.default_rng(0).permutation(len(photos))]
    return [
        photo
        for label in labels
        for photo in [each for each in shuffled if each.label == label][: count // len(labels)]
    ]


def drawn_from(span: Path) -> set[str]:
    """The names of the photos of which few may be drawn.

    A photo's split follows from that of its near-duplicates which decides for all. Among few that
    one may be missing, and a near-duplicate of a test photo might be trained on.
    """
    held = span_photos.read([span])
    columns = zip(held.names, held.splits, held.groups, held.pixels, strict=True)
    return {name for name, split, group, pixels in columns if split != TEST or group == pixels}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="+", help="folders of class folders")
    folders = [list_photos(folder) for folder in parser.parse_args().photos]
    link_photos((("0-", photo) for photo in folders[0]), FOLDER / "first")
    every = ((f"{n}-", photo) for n, photos in enumerate(folders) for photo in photos)
    link_photos(every, FOLDER / "all")
    spans = [ingested(name) for name in ("first", "all")]
    of_first, of_all = (
        {sha256 for sha256, split in zip(held.sha256s, held.splits, strict=True) if split == TEST}
        for held in (span_photos.read([span]) for span in spans)
    )
    test = [record for record in read_records(spans[0]) if record.sha256 in of_first & of_all]
    pool = drawn_from(spans[0])
    photos = [photo for photo in list_photos(FOLDER / "first") if photo.name in pool]
    for count in SMALL:
        link_photos((("", photo) for photo in draw(photos, count)), FOLDER / str(count))
    rows = []
    for name in (*map(str, SMALL), "first", *(["all"] if len(folders) > 1 else [])):
        rows.append(measure(FOLDER / name, test, FOLDER / "runs" / name))
        print(f"\n{HEADER}\n{rows[-1]}\n", flush=True)
    print(f"\n{len(test)} test photos\n{HEADER}")
    for row in rows:
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
