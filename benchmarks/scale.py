"""Measures whether the work per photo stays the same from 1,000 photos to 30,000.

For each number of drawn photos, `dog-emotion data` makes the records and `dog-emotion run-spec`
runs the compiled pipeline, each task in a process of its own. Prints what each further photo costs
them in CPU time, from the least to the middle number and from there to the greatest, the second
as a multiple of the first (1 is flat), and the peak memory at each; keeps it in
benchmarks/scale.json. A number that was measured before is not measured again, unless its folder
below runs/scale is deleted.
"""

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bench import machine
from benchmarks.processes import Measured, run_measured
from data.drawn_dogs import EXPRESSIONS, draw_dataset

PHOTOS = (1_000, 10_000, 30_000)
RESULTS = Path(__file__).with_name("scale.json")
FOLDER = Path("runs") / "scale"
SETTINGS = (
    "model.backbone=efficientnet_lite0",
    "training.unfrozen.epochs=1",
    "gate.over_majority=-1",
)
INGESTION = "ingestion"
TASKS = (
    "ImportExampleGen",
    "StatisticsGen",
    "Transform",
    "ActivationCache",
    "Trainer",
    "Evaluator",
)
STEPS = (INGESTION, *TASKS)


def measure(photos: int) -> dict[str, Measured]:
    """Runs everything on a number of drawn photos, if it has not been measured before.

    Raises:
        subprocess.CalledProcessError: a command failed; it has printed why.
    """
    folder = FOLDER / str(photos)
    done = folder / "measured.json"
    if done.exists():
        return {name: Measured(**row) for name, row in json.loads(done.read_text()).items()}
    shutil.rmtree(folder, ignore_errors=True)
    draw_dataset(folder / "photos", per_class=photos // len(EXPRESSIONS), seed=0)
    print(f"\n{photos:,} photos drawn", flush=True)
    found = {INGESTION: run_measured("data", f"{folder}/photos", "--out", f"{folder}/data")}
    spec = f"{folder}/spec.json"
    settings = [f"--set={setting}" for setting in SETTINGS]
    run_measured("compile", "--target=vertex", "--image=none", "--root=gs://none", "--data=gs://none",
         f"--out={spec}", *settings)  # fmt: skip
    run_measured("run-spec", spec, "--root", f"{folder}/root", "--data", f"{folder}/data")
    for task in TASKS:
        row = json.loads((folder / "root" / "runs" / "1" / task / "execution.json").read_text())
        found[task] = Measured(row["seconds"], row["cpu_seconds"], row["peak_mb"])
    for name in ("photos", "data", "root"):
        shutil.rmtree(folder / name)
    done.write_text(json.dumps({name: asdict(row) for name, row in found.items()}, indent=2))
    return found


@dataclass(frozen=True)
class Row:
    """What each further photo costs a step, between the numbers of photos."""

    step: str
    cpu_ms_a_photo: tuple[float, float]
    times: float
    """The second as a multiple of the first."""
    seconds: tuple[float, ...]
    peak_mb: tuple[int, ...]

    def __str__(self) -> str:
        low, high = self.cpu_ms_a_photo
        peaks = "".join(f"{peak:>9,}" for peak in self.peak_mb)
        return f"{self.step:<18}{low:>10.2f}{high:>10.2f}{self.times:>7.2f}{'':>13}{peaks}"


def _row(step: str, measured: Sequence[Measured]) -> Row:
    pairs = zip(itertools.pairwise(PHOTOS), itertools.pairwise(measured), strict=True)
    low, high = (
        1000 * (after.cpu_seconds - before.cpu_seconds) / (more - fewer)
        for (fewer, more), (before, after) in pairs
    )
    return Row(
        step,
        (round(low, 2), round(high, 2)),
        round(high / low, 2),
        tuple(round(each.seconds, 1) for each in measured),
        tuple(round(each.peak_mb) for each in measured),
    )


def main() -> int:
    """Prints and keeps the table."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    measured = {photos: measure(photos) for photos in PHOTOS}
    rows = [_row(name, [measured[photos][name] for photos in PHOTOS]) for name in STEPS]
    kept = {
        "machine": machine(),
        "photos": PHOTOS,
        "settings": SETTINGS,
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")
    numbers = "".join(f"{photos:>9,}" for photos in PHOTOS)
    print(f"\n{'':<18}{'CPU ms per photo':>20}{'times':>7}   peak MB at{numbers}")
    for row in rows:
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
