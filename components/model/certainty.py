"""From which probability on an answer counts as certain."""

import math
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

LUCK = 0.1
"""How likely it may be that the answers from a threshold on are less often right than asked, and
were so on the validation photos by luck."""
STEP = 0.1
"""Of the validation photos."""


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
    """The lowest threshold from which on the validation photos show answers as good as asked.

    It is not enough that they were so on these photos: the lower bound of Clopper and Pearson
    (1934, doi:10.1093/biomet/26.4.404), which lies above the true share with probability `LUCK`,
    must reach what was asked. The lowest of many thresholds would be flattered more often than
    that. So a few are tried from the surest answers on, each with `STEP` more of the photos, up to
    the first that fails: tests in a fixed order need no correction (Maurer et al. 1995).

    Args:
        probabilities: calibrated, of photos that the model has not learnt from, [N, classes].
        labels: class ids [N].
        asked: an accuracy in [0, 1].
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    right = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    photos = len(labels)
    chosen = Certainty(asked, None, 0.0, None)
    tried = {math.ceil(step * STEP * photos) for step in range(1, round(1 / STEP) + 1)}
    for count in sorted(tried | {fewest_photos(asked)}):
        if not fewest_photos(asked) <= count <= photos:
            continue
        threshold = float(ranked[count - 1])
        told = int(np.sum(ranked >= threshold))  # photos of the same probability go together
        hits = int(right[told - 1])
        if hits == 0 or beta.ppf(LUCK, hits, told - hits + 1) < asked:
            break
        chosen = Certainty(asked, threshold, told / photos, hits / told)
    return chosen


def fewest_photos(asked: float) -> int:
    """The fewest photos that can show an accuracy, all of them being right.

    Args:
        asked: the accuracy, in [0, 1].

    Returns:
        At least 1; for an accuracy of 1, more than there can be.
    """
    if asked <= 0:
        return 1
    return sys.maxsize if asked >= 1 else math.ceil(math.log(LUCK) / math.log(asked))
