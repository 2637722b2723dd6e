"""How far a classifier's probabilities may be trusted, in bins of photos of which it is as sure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Equal-width bins of the largest probability, as in Guo et al. 2017, arXiv:1706.04599."""


@dataclass(frozen=True)
class Bin:
    """The photos of which a model was about equally sure."""

    photos: int
    confidence: float
    """Mean of the largest probability."""
    accuracy: float


def bin_of(confidence: NDArray[np.floating]) -> NDArray[np.int64]:
    """The bin of each largest probability.

    Args:
        confidence: float [...] in [0, 1].

    Returns:
        int [...] in [0, `BINS`).
    """
    return np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(np.int64)


def bins_of(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> list[Bin]:
    """The reliability diagram of a model.

    Args:
        confidence: float [N] in [0, 1], the largest probability of each photo.
        right: bool [N], whether that class is the photo's.

    Returns:
        The bins that hold a photo, the least sure first.
    """
    numbers = bin_of(confidence)
    return [
        Bin(
            photos=int(within.sum()),
            confidence=float(confidence[within].mean()),
            accuracy=float(right[within].mean()),
        )
        for within in (numbers == number for number in range(BINS))
        if within.any()
    ]


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error: how far confidence is from accuracy on average.

    Guo et al. 2017, arXiv:1706.04599, equation 3.

    Args:
        bins: from `bins_of`, at least one.

    Returns:
        In [0, 1]; 0 is best.
    """
    photos = sum(each.photos for each in bins)
    return sum(each.photos * abs(each.confidence - each.accuracy) for each in bins) / photos
