"""How much of a figure on so few photos is chance."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from components.reliability import Bin

CAUGHT = 0.8
"""The probability with which a loss counts as one that would be caught."""

_SEED = 0
_DRAWS = 4_000


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Args:
        share: the observed share, in [0, 1].
        n: observations, at least 1.

    Returns:
        The lower and the upper bound, in [0, 1].
    """
    z = 1.959964
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (centre - spread) / scale, (centre + spread) / scale


def highest_share(right: int, n: int, error_rate: float) -> float:
    """The largest true share that observations do not speak against.

    It is the exact one-sided bound (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404).

    Args:
        right: how many of the observations count.
        n: observations, at least 1.
        error_rate: how often the true share is greater than what is returned, in [0, 1].

    Returns:
        A share in [0, 1].
    """
    return 1.0 if right == n else float(beta.ppf(1 - error_rate, right + 1, n - right))


def chance_to_pass(limit: float, *, classes: int, photos: int) -> float:
    """How likely guessing reaches a lower bound of the accuracy: the upper tail of a binomial.

    Args:
        limit: for the lower end of `wilson_interval`, in [0, 1].
        classes: how many there are to guess from.
        photos: how many are guessed, at least 1.

    Returns:
        The probability, in [0, 1].
    """
    needed = bisect_left(
        range(photos + 1), limit, key=lambda n: wilson_interval(n / photos, photos)[0]
    )
    return float(binom.sf(needed - 1, photos, 1 / classes))


def critical_gain(discordant: NDArray[np.int64], error_rate: float) -> NDArray[np.int64]:
    """The most photos that a model may gain and still count as worse than another one.

    McNemar's test, exact and one-sided (McNemar 1947, doi:10.1007/BF02295996): between equally good
    models, each photo that only one of them has right is a throw of a coin.

    Args:
        discordant: int [N], how many photos only one of both models has right.
        error_rate: how often equally good models may count as worse.

    Returns:
        int [N]; -1 where even to gain none would not be enough.
    """
    first = binom.ppf(error_rate, discordant, 0.5)
    found: NDArray[np.int64] = np.where(
        binom.cdf(first, discordant, 0.5) <= error_rate, first, first - 1
    ).astype(np.int64)
    return found


@lru_cache(maxsize=4096)
def chance_to_catch(loss: float, *, discordant: int, photos: int, error_rate: float) -> float:
    """The power of the test: how likely it would have caught a true loss of accuracy.

    Args:
        loss: what the new model's accuracy is lower by, in [0, 1].
        discordant: how many photos only one of both models had right; models as unlike as these are
            assumed, or as unlike as the loss requires.
        photos: all that both were asked about.
        error_rate: of the test.

    Returns:
        The probability, in [0, 1].
    """
    rate = max(discordant / photos, loss, 1 / photos)
    gained = (rate - loss) / (2 * rate)
    first, last = binom.ppf([1e-9, 1 - 1e-9], photos, rate)
    counts = np.arange(first, last + 1, dtype=np.int64)
    caught = binom.cdf(critical_gain(counts, error_rate), counts, gained)
    return float(np.sum(binom.pmf(counts, photos, rate) * caught))


@lru_cache(maxsize=4096)
def caught_loss(*, discordant: int, photos: int, error_rate: float) -> float | None:
    """The smallest loss, to a tenth of a point, that is caught with the probability `CAUGHT`.

    Args and assumptions are those of `chance_to_catch`.

    Returns:
        A loss of accuracy in (0, 1]; None if so few photos would not catch any.
    """
    low, high = 0, 1000
    test = {"discordant": discordant, "photos": photos, "error_rate": error_rate}
    if chance_to_catch(1.0, **test) < CAUGHT:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if chance_to_catch(middle / 1000, **test) < CAUGHT:
            low = middle
        else:
            high = middle
    return high / 1000


def highest_calibration_error(bins: Sequence[Bin], error: float, error_rate: float) -> float:
    """What may be measured on so few photos if the true calibration error is `error`.

    It is simulated, always with the same random numbers: a model that says what it has said, and
    is right that much less, or more, often. The same error measures the more the fewer bins it lies
    in, so it is tried in all of them, in every other one, and in the fullest alone.

    Args:
        bins: what the model has said.
        error: the true error, in [0, 1].
        error_rate: how often more may be measured, in [0, 1].

    Returns:
        A measured expected calibration error, in [0, 1].
    """
    photos = np.array([each.photos for each in bins])
    said = np.array([each.confidence for each in bins])
    rng = np.random.default_rng(_SEED)
    limits = []
    places = np.arange(len(bins))
    for off in (places >= 0, places % 2 == 0, places % 2 == 1, places == photos.argmax()):
        for sign in (-1, 1):
            each = error * photos.sum() / max(1, photos[off].sum())
            true = np.clip(said + sign * each * off, 0, 1)
            right = rng.binomial(photos, true, (_DRAWS, len(bins)))
            measured = np.abs(right - photos * said).sum(axis=1) / photos.sum()
            limits.append(float(np.quantile(measured, 1 - error_rate)))
    return max(limits)
