"""Ratios: how they are computed, printed and kept."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """A row of the results; higher is better."""

    name: str
    median: float
    low: float
    high: float
    goal: float | None = None

    @property
    def line(self) -> str:
        """What the bench prints for it."""
        goal = "" if self.goal is None else f" goal {self.goal:g}"
        return f"ratio {self.name} {self.median:.3f} [{self.low:.3f}, {self.high:.3f}]{goal}"

    def as_json(self) -> dict[str, Any]:
        """What the results keep of it; a row without a goal has no key for one."""
        figures = {
            "name": self.name,
            "median": round(self.median, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
        }
        return figures if self.goal is None else figures | {"goal": self.goal}


def of_repeats(name: str, values: Sequence[float], goal: float | None = None) -> Ratio:
    """The row for a figure measured in several repeats: median, least and greatest."""
    return Ratio(name, statistics.median(values), min(values), max(values), goal)


def of_pairs(
    name: str, peer: Sequence[float], ours: Sequence[float], goal: float | None = None
) -> Ratio:
    """The row for two interleaved measurements in seconds, divided repeat by repeat.

    What slows the machine for a while slows both of a pair and leaves their ratio as it is.
    """
    return of_repeats(name, [a / b for a, b in zip(peer, ours, strict=True)], goal)


def extrapolate(epoch_seconds: dict[str, float], epochs: dict[str, int]) -> float:
    """The seconds of a whole training, from those of one epoch of each phase."""
    return sum(epoch_seconds[phase] * count for phase, count in epochs.items())


def merge(file: Path, ratios: Iterable[Ratio], machine: str, versions: dict[str, str]) -> None:
    """Puts rows into a file of results: each replaces the one of its name, new ones go to the end.

    The file holds `machine`, `versions` and `ratios`; it is replaced as a whole.
    """
    before = json.loads(file.read_text()) if file.exists() else {"versions": {}, "ratios": []}
    rows = {row["name"]: row for row in before["ratios"]}
    rows |= {ratio.name: ratio.as_json() for ratio in ratios}
    merged = {
        "machine": machine,
        "versions": before["versions"] | versions,
        "ratios": list(rows.values()),
    }
    write_json(file, merged, indent=2)


def write_json(file: Path, value: object, indent: int | None = None) -> None:
    """Writes a file so that a reader sees the old one or the new one, never half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.tmp")
    unfinished.write_text(json.dumps(value, indent=indent) + "\n")
    unfinished.replace(file)
