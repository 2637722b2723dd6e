"""From which probability on an answer counts as certain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

LUCK = 0.1
"""How likely it may be that the answers from a threshold on are less often right than asked, and
were so on the validation photos by luck."""


@dataclass(frozen=True)
class Certainty:
    """A threshold, and what it gave on the validation photos."""

    asked: float
    """The share of certain answers that should be right."""
    threshold: float | None
    """The least probability of the predicted class that is certain; None: no answer ever is."""
    val_coverage: float
    """The share of the photos whose answer is certain."""
    val_accuracy: float | None
    """The share of those that are right; None if there are none."""


def choose_threshold(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], asked: float
) -> Certainty:
    """The lowest threshold from which on the answers are as often right as asked.

    It is not enough that they were so on these photos: the lower bound of Clopper and Pearson
    (1934, doi:10.1093/biomet/26.4.404), which lies above the true share with probability `LUCK`,
    must reach what was asked. So a threshold needs some photos, even if all of them are right: 11
    for an accuracy of 0.8.

    Args:
        probabilities: calibrated, of photos that the model has not learnt from, [N, classes].
        labels: class ids [N].
        asked: an accuracy in [0, 1].
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    right = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    count = np.arange(1, len(right) + 1)
    # With none right the quantile is not defined, and the bound is 0.
    reached = np.nan_to_num(beta.ppf(LUCK, right, count - right + 1)) >= asked
    reached[:-1] &= ranked[:-1] > ranked[1:]  # photos of the same probability go together
    if not reached.any():
        return Certainty(asked, None, 0.0, None)
    last = int(np.flatnonzero(reached)[-1])
    share = float(right[last] / count[last])
    return Certainty(asked, float(ranked[last]), float(count[last] / len(right)), share)
