"""The epochs of a training: what is kept of each, and the table of them all."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

Epoch = dict[str, float]
"""`accuracy`, `loss`, `val_accuracy`, `val_loss` of one epoch."""

HISTORY = "history.csv"
"""The file of the table."""
SUMMARY = "training.json"
"""The file of a training's figures, beside it."""

_FIGURES = ("accuracy", "loss", "val_accuracy", "val_loss")
_KEPT = "kept"


def best_epoch(history: Sequence[Epoch]) -> int:
    """The index of the epoch with the lowest validation loss, the earliest if several have it."""
    return min(range(len(history)), key=lambda i: history[i]["val_loss"])


@dataclass(frozen=True)
class PhaseHistory:
    """The epochs of one phase, at least one; of a solved one, the iterations."""

    name: str
    history: list[Epoch]
    kept: int
    """The index of the epoch whose weights the phase ends with."""

    @property
    def best(self) -> Epoch:
        """The epoch whose weights the phase ends with."""
        return self.history[self.kept]


def write_history(phases: Iterable[PhaseHistory], file: Path) -> None:
    """Writes one CSV row per epoch: phase, epoch of the phase, the four figures, and 1 in the row
    whose weights the phase ends with."""
    with file.open("w", newline="") as handle:
        rows = csv.DictWriter(handle, ["phase", "epoch", *_FIGURES, _KEPT])
        rows.writeheader()
        for phase in phases:
            for index, epoch in enumerate(phase.history):
                mark = int(index == phase.kept)
                rows.writerow({"phase": phase.name, "epoch": index + 1, **epoch, _KEPT: mark})


def read_history(file: Path) -> list[PhaseHistory]:
    """Reads what `write_history` wrote."""
    with file.open(newline="") as handle:
        phases = {
            name: list(rows)
            for name, rows in groupby(csv.DictReader(handle), key=lambda row: row["phase"])
        }
    return [
        PhaseHistory(
            name,
            [{key: float(row[key]) for key in _FIGURES} for row in rows],
            kept=[row[_KEPT] for row in rows].index("1"),
        )
        for name, rows in phases.items()
    ]
