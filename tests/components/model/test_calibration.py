import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from components.model.calibration import fit_temperature
from components.reliability import bins_of, calibration_error

Logits = NDArray[np.float64]


def drawn(photos: int, scale: float) -> tuple[Logits, NDArray[np.int64]]:
    """Logits, and labels that are as likely as the logits divided by `scale` say."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (photos, 4))
    chances = softmax(logits, axis=1).cumsum(axis=1)
    labels = (rng.random((photos, 1)) > chances).sum(axis=1)
    return logits * scale, labels


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
def test_the_temperature_undoes_what_made_the_model_too_sure(scale: float) -> None:
    assert fit_temperature(*drawn(5000, scale)) == pytest.approx(scale, rel=0.05)


def test_the_temperature_lowers_the_calibration_error() -> None:
    logits, labels = drawn(1000, 3.0)
    right = logits.argmax(axis=1) == labels
    before, after = (
        calibration_error(bins_of(softmax(logits / divisor, axis=1).max(axis=1), right))
        for divisor in (1.0, fit_temperature(logits, labels))
    )
    assert before > 0.15
    assert after < 0.05


@pytest.mark.parametrize(("right", "lowest", "highest"), [(True, 0.3, 1.0), (False, 1.0, 4.0)])
@pytest.mark.parametrize("photos", [1, 6])
def test_a_few_photos_do_not_run_away_with_it(
    photos: int, right: bool, lowest: float, highest: float
) -> None:
    logits = np.tile([2.0, 0.0], (photos, 1))
    labels = np.zeros(photos, np.int64) if right else np.ones(photos, np.int64)
    assert lowest < fit_temperature(logits, labels) < highest
