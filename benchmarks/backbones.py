"""One backbone, several, and several distilled into one: accuracy and the time for one photo.

    python -m benchmarks.backbones PHOTOS [--seeds N]

A whole run each, in a folder of its own below runs/backbones, which keeps its cache. The models are
asked about the photos of `val` and `test` as their records hold them, and their times are measured
at the end, in turns, as ServableGate does.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.exports import is_right, newest_export
from benchmarks.processes import run_measured
from components.evaluation.chance import wilson_interval
from data.contract.errors import Exit
from data.contract.features import TEST, VAL
from data.contract.servable import Cost
from data.records import read_records
from data.spans import list_spans
from serving.checking.cost import measure_cost
from serving.embedded.saved_model import SavedModel, warm_up

LITES = tuple(f"efficientnet_lite{number}" for number in range(3))
CHOICES = {
    "lite0": LITES[:1],
    "lite1": LITES[1:2],
    "lite2": LITES[2:],
    "lite0 + lite2": LITES[::2],
    "lite0 + lite1 + lite2": LITES,
}
DISTILLED = "lite0, taught by all three"
FOLDER = Path("runs") / "backbones"
TIMEOUT_MS = 60_000
ROUNDS = 5
"""In which each model's time is measured once."""


@dataclass
class Row:
    """One choice, over all seeds."""

    name: str
    right: dict[str, list[NDArray[np.bool_]]] = field(default_factory=lambda: {VAL: [], TEST: []})
    """By split, for each seed: which photos are labelled rightly."""
    costs: list[Cost] = field(default_factory=list)

    def __str__(self) -> str:
        val, test = (float(np.mean(self.right[split])) for split in (VAL, TEST))
        low, high = wilson_interval(test, len(self.right[TEST][0]))
        return (
            f"{self.name:<28}{val:>7.3f}{test:>8.3f} ({low:.3f} to {high:.3f})"
            f"{statistics.median(cost.latency_ms for cost in self.costs):>8.1f}"
            f"{self.costs[0].size_mb:>7.0f}"
        )


HEADER = f"{'backbone':<28}{'val':>7}{'test':>8} (95 % interval) {'ms':>8}{'MB':>7}"


def settings_of(choice: str, seed: int) -> Iterator[str]:
    """The arguments of a run."""
    backbones = CHOICES.get(choice, LITES)
    named = backbones[0] if len(backbones) == 1 else str(list(backbones)).replace("'", '"')
    settings = [f"model.backbone={named}", "model.weights=imagenet", f"training.seed={seed}"]
    if choice == DISTILLED:
        settings.append("training.distill=true")
    for setting in settings:
        yield from ("--set", setting)


def trained(choice: str, seed: int, photos: Path) -> Path:
    """The folder of a run."""
    workdir = FOLDER / f"{choice.replace(' ', '').replace(',', '-')}-{seed}"
    run_measured(
        "run",
        *("--photos", photos, "--workdir", workdir),
        *settings_of(choice, seed),
        accepted=(Exit.DONE, Exit.BLOCKED),
    )
    return workdir


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="a folder of class folders")
    parser.add_argument("--seeds", type=int, default=1, help="trainings each (default: 1)")
    options = parser.parse_args()
    rows, versions = [], []
    for choice in (*CHOICES, DISTILLED):
        rows.append(Row(choice))
        for seed in range(options.seeds):
            workdir = trained(choice, seed, options.photos)
            version = newest_export(workdir)
            records = list(read_records(list_spans(workdir / "data")[-1]))
            for split, found in rows[-1].right.items():
                asked = [record for record in records if record.split == split]
                jpegs, labels = zip(*((each.jpeg, each.label) for each in asked), strict=True)
                found.append(is_right(version, jpegs, labels))
        versions.append(version)
    with ExitStack() as stack:
        models = [stack.enter_context(closing(SavedModel(each, TIMEOUT_MS))) for each in versions]
        for model, version in zip(models, versions, strict=True):
            warm_up(model, version)
        for _ in range(ROUNDS):
            for row, model, version in zip(rows, models, versions, strict=True):
                row.costs.append(measure_cost(model, version))
    print(f"\n{options.seeds} seeds\n{HEADER}")
    for row in rows:
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
