import math

import numpy as np
import pytest
from scipy.stats import binomtest

from components.evaluation.chance import (
    caught_loss,
    chance_to_catch,
    chance_to_pass,
    critical_gain,
    highest_calibration_error,
    highest_share,
    wilson_interval,
)
from components.reliability import Bin


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Table I, method 3 of Newcombe 1998, Statistics in Medicine 17(8), 857-872.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes / n, n) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(1 - successes / n, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


@pytest.mark.parametrize(("right", "n"), [(0, 3), (0, 150), (7, 20), (149, 150), (20, 20)])
def test_the_highest_share_is_that_of_the_exact_test(right: int, n: int) -> None:
    interval = binomtest(right, n, alternative="less").proportion_ci(0.95, method="exact")
    assert highest_share(right, n, 0.05) == pytest.approx(interval.high)
    assert highest_share(right, n, 0.0) == 1.0


@pytest.mark.parametrize(
    ("limit", "classes", "photos", "chance"),
    [
        (0.0, 4, 10, 1.0),
        (0.2, 2, 1, 0.5),  # the lower bound of 1 of 1 is 0.207
        (0.3, 2, 1, 0.0),
        (0.56, 4, 3, 0.0),  # that of 3 of 3 is 0.438
        (0.4, 4, 3, 1 / 64),
    ],
)
def test_the_chance_of_guessing_is_the_tail_of_a_binomial(
    limit: float, classes: int, photos: int, chance: float
) -> None:
    assert chance_to_pass(limit, classes=classes, photos=photos) == pytest.approx(chance)


@pytest.mark.parametrize("error_rate", [0.0, 0.02, 0.05, 0.5])
def test_the_critical_gain_is_the_most_that_mcnemars_test_rejects(error_rate: float) -> None:
    counts = np.arange(0, 60)
    for discordant, most in zip(counts, critical_gain(counts, error_rate), strict=True):
        rejected = [
            gained
            for gained in range(discordant + 1)
            if discordant and binomtest(gained, discordant, alternative="less").pvalue <= error_rate
        ]
        assert most == max(rejected, default=-1)


def test_a_loss_is_caught_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    photos, rate, loss, error_rate = 606, 0.25, 0.05, 0.04
    gained_share, lost_share = (rate - loss) / 2, (rate + loss) / 2
    counts = rng.multinomial(photos, [gained_share, lost_share, 1 - rate], 4000)
    caught = counts[:, 0] <= critical_gain(counts[:, 0] + counts[:, 1], error_rate)
    said = chance_to_catch(
        loss, discordant=round(rate * photos), photos=photos, error_rate=error_rate
    )
    assert caught.mean() == pytest.approx(said, abs=4 * math.sqrt(said * (1 - said) / 4000))


def test_the_caught_loss_is_the_smallest_with_that_probability() -> None:
    test = {"discordant": 150, "photos": 606, "error_rate": 0.04}
    loss = caught_loss(**test)
    assert loss is not None
    assert chance_to_catch(loss, **test) >= 0.8 > chance_to_catch(loss - 0.001, **test)
    assert caught_loss(discordant=1, photos=4, error_rate=0.04) is None


@pytest.mark.parametrize(
    ("off", "exceeded"),
    [
        ([0.05] * 4, 0.02),
        ([0, 0.05 * 606 / 256, 0, 0.05 * 606 / 256], 0.1),
        ([0.1515, 0, 0, 0], 0.1),
    ],
)
def test_the_highest_calibration_error_is_exceeded_as_rarely_as_asked(
    off: list[float], exceeded: float
) -> None:
    """Wherever the error lies: it measures the more, the fewer bins it is in."""
    rng = np.random.default_rng(1)
    said = np.array([0.35, 0.5, 0.65, 0.9])
    photos = np.array([200, 200, 150, 56])
    bins = [Bin(int(n), float(c), 0.5) for n, c in zip(photos, said, strict=True)]
    limit = highest_calibration_error(bins, 0.05, 0.1)
    assert np.dot(photos, off) / photos.sum() == pytest.approx(0.05)
    right = rng.binomial(photos, said - off, (4000, 4))
    measured = np.abs(right - photos * said).sum(axis=1) / photos.sum()
    assert (measured > limit).mean() < exceeded + 0.02
    assert highest_calibration_error(bins, 0.05, 0.1) == limit
