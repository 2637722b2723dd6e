"""How far the probabilities can be trusted, and what is left if only the sure answers count."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluation.chance import wilson_interval
from components.evaluation.table import Predictions

FEWEST = 10
"""Photos from which on the accuracy of the surest ones is drawn: of fewer, it is all chance."""
_POINTS = 200


def uncalibrated(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """What the model would say without its temperature T: p to the power of T, normalized.

    Dividing logits by T is taking probabilities to the power of 1/T
    (https://arxiv.org/abs/1706.04599, section 4.2).

    Args:
        probabilities: calibrated, [N, classes].
        temperature: above 0.
    """
    raised = probabilities**temperature
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def coverage_curve(predictions: Predictions) -> list[tuple[float, float]]:
    """The accuracy of the surest answers, for every share of the photos that they may be.

    Returns:
        Pairs of coverage and accuracy, by coverage, from `FEWEST` photos on; 200 or so at most.
        Photos of the same probability come together.
    """
    order = np.argsort(-predictions.confidence, kind="stable")
    right = np.cumsum(predictions.right[order])
    ranked = predictions.confidence[order]
    last = np.append(ranked[:-1] > ranked[1:], True)  # of those that are equally sure
    photos = len(predictions)
    ends = [int(n) for n in np.flatnonzero(last) + 1 if n >= min(FEWEST, photos)]
    kept = [*ends[:: max(1, len(ends) // _POINTS)]]
    if kept[-1] != photos:
        kept.append(photos)
    return [(n / photos, float(right[n - 1] / n)) for n in kept]


@dataclass(frozen=True)
class Share:
    """Some of the photos, and how often the answer to them is right."""

    photos: int
    coverage: float
    accuracy: float | None
    """None if there are none."""
    interval: tuple[float, float] | None
    """95 % interval of the accuracy."""


def certain_share(predictions: Predictions) -> Share | None:
    """The photos whose answer is certain; None if the model does not say which are."""
    if predictions.certain is None:
        return None
    photos = int(predictions.certain.sum())
    coverage = photos / len(predictions)
    if not photos:
        return Share(0, coverage, None, None)
    accuracy = float(predictions.right[predictions.certain].mean())
    return Share(photos, coverage, accuracy, wilson_interval(accuracy, photos))
