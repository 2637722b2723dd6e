"""A folder to which photos keep coming: what a run costs, and how each version does by span.

    python -m benchmarks.windows [PHOTOS]

The photos of each class are put in order of their brightness, with some chance, and cut into five
parts, so that what comes drifts; without PHOTOS, dogs are drawn. A run follows on each part that is
added, with `data.window` of one span and of all five. The last run is also made in a new folder,
where nothing can be taken over. Prints of each run the test accuracy, the gate's verdict and the
CPU time; then the ratios of the last runs, and the accuracy of each version on each span.
"""

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.processes import run_measured
from data import spans
from data.contract.errors import Exit
from data.contract.nodes import TRAINER
from data.drawn_dogs import draw_dataset
from data.folder import LabelledPhoto, list_photos
from pipeline.lineage.by_span import accuracy_by_span
from pipeline.outputs import open_store
from pipeline.workdir import Workdir

SPANS = 5
DRAWN_PER_CLASS = 200
CHANCE = 25.0
"""Standard deviation of what is added to a photo's brightness, of 255, before they are ordered."""
FOLDER = Path("runs") / "windows"
WAIVER = '{check="drift", feature="image/brightness", reason="the benchmark makes it"}'
HEADER = "window  span  photos  test accuracy  CPU s  but for Trainer  verdict"


@dataclass(frozen=True)
class Row:
    """One run."""

    window: int
    span: int
    photos: int
    accuracy: float
    cpu_seconds: float
    trainer_seconds: float
    """CPU time of the Trainer, which learns from all photos of the window."""
    verdict: str

    @property
    def rest(self) -> float:
        """CPU time of all but the Trainer."""
        return self.cpu_seconds - self.trainer_seconds

    def __str__(self) -> str:
        return (
            f"{self.window:>6}{self.span:>6}{self.photos:>8,}{self.accuracy:>15.3f}"
            f"{self.cpu_seconds:>7.0f}{self.rest:>17.0f}  {self.verdict}"
        )


def brightness(photo: LabelledPhoto) -> float:
    """The mean of its pixels, 0 to 255; 0 of what is no photo, as ingestion will find."""
    pixels = cv2.imread(str(photo.path), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    return 0.0 if pixels is None else float(pixels.mean())


def parts(photos: Path) -> list[list[LabelledPhoto]]:
    """The photos in the order in which they come, in as many parts as there are spans."""
    chance = np.random.default_rng(0)
    listed = list_photos(photos)
    keys = [brightness(photo) + chance.normal(0, CHANCE) for photo in listed]
    ordered = [listed[place] for place in np.argsort(keys)]
    found: list[list[LabelledPhoto]] = [[] for _ in range(SPANS)]
    for label in sorted({photo.label for photo in ordered}):
        own = [photo for photo in ordered if photo.label == label]
        for place, photo in enumerate(own):
            found[place * SPANS // len(own)].append(photo)
    return found


def add(photos: list[LabelledPhoto], folder: Path) -> None:
    """Puts links to photos into class folders."""
    for photo in photos:
        link = folder / photo.label / photo.path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo.path.resolve())


def run(photos: Path, workdir: Path, window: int, span: int) -> Row:
    """One run of the product."""
    took = run_measured(
        "run", "--photos", photos, "--workdir", workdir, f"--set=data.window={window}",
        f"--set=data_gate.waivers=[{WAIVER}]", accepted=(Exit.DONE, Exit.BLOCKED),
    )  # fmt: skip
    metrics = json.loads(Workdir(workdir).metrics.read_text())
    failed = [each["name"] for each in metrics["test"]["conditions"] if not each["passed"]]
    (*_, newest) = spans.list_spans(workdir / "data")
    counts = spans.read_manifest(newest)["counts"]
    return Row(
        window=window,
        span=span,
        photos=sum(sum(split.values()) for split in counts.values()),
        accuracy=metrics["test"]["accuracy"],
        cpu_seconds=took.cpu_seconds,
        trainer_seconds=next(
            each["cpu_seconds"] for each in metrics["nodes"] if each["node"] == TRAINER
        ),
        verdict=f"blocked: {'; '.join(failed)}" if failed else "passed",
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, nargs="?", help="a folder of class folders")
    photos = parser.parse_args().photos
    shutil.rmtree(FOLDER, ignore_errors=True)
    if photos is None:
        photos = FOLDER / "drawn"
        draw_dataset(photos, per_class=DRAWN_PER_CLASS, seed=0)
    coming = parts(photos)
    rows: list[Row] = []
    for window in (1, SPANS):
        for span, part in enumerate(coming, start=1):
            add(part, FOLDER / f"photos-{window}")
            rows.append(run(FOLDER / f"photos-{window}", FOLDER / f"window-{window}", window, span))
            print(f"\n{HEADER}\n{rows[-1]}\n", flush=True)
    anew = run(FOLDER / f"photos-{SPANS}", FOLDER / "anew", SPANS, SPANS)
    one, every = rows[SPANS - 1], rows[-1]
    print(f"\n{HEADER}")
    for row in (*rows, anew):
        print(row)
    print(f"\nCPU time but for the Trainer, a window of {SPANS} spans / of one: "
          f"{every.rest / one.rest:.2f}")  # fmt: skip
    print(f"the same, in a new folder / with what is taken over: {anew.rest / every.rest:.2f}")
    for version, measured in accuracy_by_span(
        open_store(Workdir(FOLDER / f"window-{SPANS}").metadata)
    ).items():
        said = ", ".join(f"span {span}: {share:.3f}" for span, share in measured.items())
        print(f"version {version}  {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
