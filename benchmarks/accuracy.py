"""The difference of two accuracies on the same photos, with its interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Ratio

RESAMPLES = 10_000


def difference(
    name: str, ours: Sequence[Sequence[int]], peer: Sequence[Sequence[int]], goal: float
) -> Ratio:
    """Test accuracy, ours minus the peer's, as a row: the difference and its 95 % interval.

    The interval is that of the pigeonhole bootstrap (https://arxiv.org/abs/0712.1111), which
    resamples the photos, together for both sides, and the seeds, separately for each: another set
    of photos and another set of trainings would have given another figure.

    Args:
        name: the row's.
        ours: for each seed, whether each test photo is labelled correctly, 0 or 1.
        peer: the same for the peer, the photos in the same order.
        goal: the row's.
    """
    sides = np.array(ours, float), np.array(peer, float)
    rng = np.random.default_rng(0)
    photos = _resampled(sides[0].shape[1], rng)
    a, b = (((photos @ side.T) * _resampled(len(side), rng)).sum(axis=1) for side in sides)
    low, high = np.quantile(a - b, [0.025, 0.975])
    return Ratio(name, float(sides[0].mean() - sides[1].mean()), float(low), float(high), goal)


def _resampled(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The share of each of `count` things in samples drawn with replacement: float64
    [RESAMPLES, count]."""
    return rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
