"""Few photos and many: accuracy on the same test photos, time and memory of a whole run.

    python -m benchmarks.sizes PHOTOS [MORE ...]

The folders hold class folders. The test photos are those that ingestion gives to `test` both of
the first folder and of all of them together; photos that are nearly the same never share a run's
training with them. A run each is made of 100 and of 1,000 of the first folder's other photos, drawn
at random with a seed, of the first folder, and of all folders together.
"""

import argparse
import csv
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.processes import Measured, run_measured
from components.evaluation.chance import wilson_interval
from data.contract.errors import Exit
from data.contract.features import TEST, TRAIN, VAL
from data.contract.model import BEST_LABEL, PHOTO_INPUT
from data.folder import LabelledPhoto, list_photos
from data.records import Record, read_records

SMALL = (100, 1_000)
FOLDER = Path("runs") / "sizes"
BATCH = 64


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
            f"{self.photos:>7,}{self.trained_on:>12,}{accuracy:>10.3f} ({low:.3f} to {high:.3f})"
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


def photos_of(span: Path, *splits: str) -> dict[str, str]:
    """The names of the photos of some splits, and the SHA-256 of each."""
    with (span / "photos.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in splits]
    return {row["path"]: row["sha256"] for row in rows}


def answers(version: Path, photos: Sequence[bytes]) -> Iterator[str]:
    """What an exported model calls each photo."""
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    for first in range(0, len(photos), BATCH):
        batch = tf.constant(photos[first : first + BATCH])
        told = signature(**{PHOTO_INPUT: batch})[BEST_LABEL].numpy()
        yield from (label.decode() for label in told)


def measure(photos: Path, test: Sequence[Record], workdir: Path) -> Row:
    """Runs the product on a folder and asks its model about the test photos."""
    shutil.rmtree(workdir, ignore_errors=True)
    took = run_measured(
        "run", "--photos", photos, "--workdir", workdir, accepted=(Exit.DONE, Exit.BLOCKED)
    )
    (version,) = (workdir / "pipeline" / "Trainer" / "model").glob("*/Format-Serving")
    told = np.array(list(answers(version, [record.jpeg for record in test])))
    wanted = np.array([record.label for record in test])
    right = told == wanted
    recalls = [float(right[wanted == label].mean()) for label in sorted(set(wanted))]
    (span,) = (workdir / "data").glob("span-*")
    return Row(
        photos=sum(1 for _ in list_photos(photos)),
        trained_on=len(photos_of(span, TRAIN)),
        right=right,
        least_recall=min(recalls),
        took=took,
    )


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
    spans = {}
    for name in ("first", "all"):
        shutil.rmtree(FOLDER / f"{name}-records", ignore_errors=True)
        run_measured("data", FOLDER / name, "--out", FOLDER / f"{name}-records")
        (spans[name],) = (FOLDER / f"{name}-records").glob("span-*")
    first, union = (set(photos_of(span, TEST).values()) for span in spans.values())
    test = [record for record in read_records(spans["first"]) if record.sha256 in first & union]
    others = photos_of(spans["first"], TRAIN, VAL)
    pool = [photo for photo in list_photos(FOLDER / "first") if photo.name in others]
    order = np.random.default_rng(0).permutation(len(pool))
    for count in SMALL:
        chosen = [("", pool[index]) for index in order[:count]]
        link_photos(chosen, FOLDER / str(count))
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
