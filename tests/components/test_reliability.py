import numpy as np
import pytest

from components.reliability import bins_of, calibration_error


def test_the_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    confidence = np.array([0.9] * 10 + [0.6] * 10)
    right = np.array([True] * 7 + [False] * 3 + [True] * 5 + [False] * 5)
    # 0.7 are right where it says 0.9, 0.5 where it says 0.6.
    assert calibration_error(bins_of(confidence, right)) == pytest.approx((0.2 + 0.1) / 2)
    assert calibration_error(bins_of(np.array([1.0]), np.array([True]))) == 0
