"""How often the gate blocks a model that is as good as the last one, and catches one that is not.

Simulated, against the very `judge` of the Evaluator: a photo has a probability of being answered
right, by which each retraining answers it. Photos are drawn anew for each history; within one, a
retraining is compared with the model pushed last and with the best of those before, as in a run.

    python -m benchmarks.gate_simulation
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import write_json
from components.evaluation.chance import chance_to_catch, wilson_interval
from components.evaluation.figures import Comparison, Figures
from components.evaluation.gate import (
    CALIBRATION,
    LOSS,
    NOT_WORSE_THAN_BEST,
    NOT_WORSE_THAN_LAST,
    RECALL,
    judge,
)
from components.evaluation.settings import GateSettings
from components.reliability import bins_of, calibration_error
from data.contract.servable import Cost

RESULTS = Path(__file__).with_name("gate_simulation.json")
PHOTOS = 606
SHARES = (0.22, 0.24, 0.24, 0.30)
RECALLS = (0.30, 0.45, 0.50, 0.60)
"""Of the classes: about those of 4,082 public photos."""
SPREAD = 2.4
"""How alike retrainings are: with this, two of them differ in whether they are right on 0.28 of the
photos. The smaller, the more alike."""
OVERSTATED = 0.02
"""True calibration error: by how much confidence exceeds the share of right answers."""
RETRAININGS = 20
"""In a history."""

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Photos:
    """Some test photos."""

    labels: NDArray[np.int64]
    confidence: NDArray[np.float64]
    """What every retraining says of its certainty."""
    chance: NDArray[np.float64]
    """How likely a retraining answers right."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Photos":
        """Photos whose classes, certainty and difficulty are as they happen."""
        labels = rng.choice(len(SHARES), PHOTOS, p=SHARES)
        likely = rng.beta(*(4 * np.array([RECALLS, 1 - np.array(RECALLS)])[:, labels]))
        chance = rng.beta(SPREAD * likely, SPREAD * (1 - likely))
        return cls(labels, np.clip(likely + OVERSTATED, 0, 1), chance)

    def answered(self, rng: np.random.Generator, loss: float = 0.0) -> Right:
        """Whether a retraining is right on each photo; its true accuracy is lower by `loss`."""
        kept = 1 - loss / float(np.dot(SHARES, RECALLS))
        return rng.random(PHOTOS) < self.chance * kept


def figures_of(photos: Photos, new: Right, last: Right, others: Sequence[Right]) -> Figures:
    """What the Evaluator would measure of a retraining.

    Args:
        photos: that all were asked about.
        new: the retraining.
        last: the one pushed last.
        others: those pushed before.
    """
    confusion = np.zeros((len(SHARES), len(SHARES)), int)
    wrong = (photos.labels + 1) % len(SHARES)
    np.add.at(confusion, (photos.labels, np.where(new, photos.labels, wrong)), 1)
    rows = confusion.sum(axis=1)
    bins = bins_of(photos.confidence, new)
    accuracy = float(new.mean())
    best = max(others, key=np.mean, default=None)
    return Figures(
        photos=PHOTOS,
        accuracy=accuracy,
        interval=wilson_interval(accuracy, PHOTOS),
        majority=float(rows.max() / PHOTOS),
        loss=1.0,
        recall={str(n): float(confusion[n, n] / rows[n]) for n in range(len(rows))},
        confusion=confusion.tolist(),
        calibration_error=calibration_error(bins),
        bins=bins,
        cost=Cost(size_mb=17.0, latency_ms=30.0),
        last=_compared(new, last),
        best="there is no other" if best is None else _compared(new, best),
        others=len(others),
        test_looks=1,
        slices=[],
    )


def _compared(new: Right, other: Right) -> Comparison:
    return Comparison(
        accuracy=float(other.mean()),
        loss=1.0,
        gained=int(np.sum(new & ~other)),
        lost=int(np.sum(other & ~new)),
    )


@dataclass
class Tally:
    """How often each condition, and the gate as a whole, has blocked a retraining."""

    judged: int
    blocked: dict[str, float]
    blocked_in_all: float


def histories(count: int, seed: int, loss: float = 0.0) -> Tally:
    """Retrains again and again on the same photos; what passes is pushed.

    Args:
        count: of histories, each of `RETRAININGS`.
        seed: of the random numbers.
        loss: how much worse than the first model every retraining truly is.
    """
    failed: list[set[str]] = []
    for rng in _generators(count, seed):
        photos = Photos.drawn(rng)
        pushed = [photos.answered(rng)]
        for _ in range(RETRAININGS):
            new = photos.answered(rng, loss)
            *others, last = pushed
            failed.append(_failed(figures_of(photos, new, last, others)))
            if not failed[-1]:
                pushed.append(new)
    return _tally(failed)


def _generators(count: int, seed: int) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, number]) for number in range(count)]


def _failed(figures: Figures) -> set[str]:
    return {each.name for each in judge(figures, GateSettings()) if not each.passed}


def _tally(failed: Sequence[set[str]]) -> Tally:
    names = (RECALL, CALIBRATION, NOT_WORSE_THAN_LAST, NOT_WORSE_THAN_BEST)
    others = set().union(*failed) - set(names)
    return Tally(
        judged=len(failed),
        blocked={
            name: sum(name in each for each in failed) / len(failed)
            for name in (*names, *sorted(others))
        },
        blocked_in_all=sum(map(bool, failed)) / len(failed),
    )


@dataclass
class Caught:
    """What becomes of models that are truly worse than the only one before."""

    judged: int
    loss: float
    caught: float
    """By the comparison with the last pushed model."""
    said: float
    """The mean of what the remark said beforehand that it would catch."""
    discordant: float
    """Mean share of photos that only one of both models has right."""


def worse(count: int, seed: int, loss: float = LOSS) -> Caught:
    """Compares models that are worse with the one pushed before them.

    Args:
        count: of comparisons, each on other photos.
        seed: of the random numbers.
        loss: of true accuracy.
    """
    gate = GateSettings()
    caught, said, discordant = [], [], []
    for rng in _generators(count, seed):
        photos = Photos.drawn(rng)
        figures = figures_of(photos, photos.answered(rng, loss), photos.answered(rng), [])
        caught.append(NOT_WORSE_THAN_LAST in _failed(figures))
        assert isinstance(figures.last, Comparison)
        discordant.append(figures.last.gained + figures.last.lost)
        said.append(
            chance_to_catch(
                loss,
                discordant=discordant[-1],
                photos=PHOTOS,
                error_rate=0.8 * gate.error_rate,
            )
        )
    return Caught(
        judged=count,
        loss=loss,
        caught=float(np.mean(caught)),
        said=float(np.mean(said)),
        discordant=float(np.mean(discordant)) / PHOTOS,
    )


@dataclass
class Drift:
    """Where it ends if every retraining is a little worse than the model pushed before it."""

    histories: int
    step: float
    """How much worse."""
    total: float
    """The true loss after all retrainings, on average, with the gate as it is."""
    without_best: float
    """The same if only the last pushed model were compared with."""


def drift(count: int, seed: int, step: float = 0.01) -> Drift:
    """Lets losses add up.

    Args:
        count: of histories, each of `RETRAININGS`.
        seed: of the random numbers.
        step: the loss of each retraining against the model pushed last.
    """
    totals: dict[bool, list[float]] = {True: [], False: []}
    for with_best, found in totals.items():
        for rng in _generators(count, seed):
            photos = Photos.drawn(rng)
            pushed, total = [photos.answered(rng)], 0.0
            for _ in range(RETRAININGS):
                new = photos.answered(rng, total + step)
                *others, last = pushed
                figures = figures_of(photos, new, last, others)
                if not with_best:
                    figures = replace(figures, best="not compared")
                if not _failed(figures) & {NOT_WORSE_THAN_LAST, NOT_WORSE_THAN_BEST}:
                    pushed.append(new)
                    total += step
            found.append(total)
    return Drift(
        histories=count,
        step=step,
        total=float(np.mean(totals[True])),
        without_best=float(np.mean(totals[False])),
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=50, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    count = options.histories
    results = {
        "photos": PHOTOS,
        "error_rate": GateSettings().error_rate,
        "equally_good": asdict(histories(count, options.seed)),
        "worse": [asdict(worse(count * RETRAININGS, options.seed, loss)) for loss in (LOSS, 0.06)],
        "worse_in_histories": asdict(histories(count, options.seed, LOSS)),
        "drift": asdict(drift(count, options.seed)),
    }
    write_json(options.out, results, indent=2)
    print(options.out.read_text())


if __name__ == "__main__":
    main()
