import numpy as np
import pytest
from numpy.typing import NDArray

from components.model.certainty import Certainty, choose_threshold

Answers = tuple[NDArray[np.float64], NDArray[np.int64]]


def answers(*groups: tuple[float, int, int]) -> Answers:
    """Photos by the probability of the predicted class: how many there are, how many are right."""
    probabilities = [[p, 1 - p] for p, photos, _ in groups for _ in range(photos)]
    labels = [int(i >= right) for _, photos, right in groups for i in range(photos)]
    return np.array(probabilities), np.array(labels)


def test_the_threshold_is_the_lowest_whose_answers_are_right_often_enough() -> None:
    found = choose_threshold(*answers((0.9, 100, 95), (0.8, 100, 80), (0.6, 100, 50)), 0.8)
    assert (found.asked, found.threshold) == (0.8, 0.8)
    assert (found.val_coverage, found.val_accuracy) == pytest.approx((200 / 300, 175 / 200))


def test_photos_of_one_probability_are_certain_together_or_not_at_all() -> None:
    found = choose_threshold(*answers((0.7, 100, 60)), 0.8)  # the 60 that are right come first
    assert found.threshold is None


def test_being_right_by_luck_is_not_enough() -> None:
    assert choose_threshold(*answers((0.9, 10, 10), (0.6, 200, 100)), 0.8).threshold is None
    assert choose_threshold(*answers((0.9, 11, 11), (0.6, 200, 100)), 0.8).threshold == 0.9


@pytest.mark.parametrize("photos", [1, 50])
def test_a_model_that_is_never_right_is_never_certain(photos: int) -> None:
    found = choose_threshold(*answers((0.9, photos, 0)), 0.5)
    assert found == Certainty(0.5, None, 0.0, None)


def test_of_answers_at_the_threshold_the_promise_is_kept_on_other_photos() -> None:
    """In nine of ten runs the certain answers are as often right as asked, if any are certain."""
    rng = np.random.default_rng(0)

    def draw(photos: int) -> Answers:
        sure = rng.uniform(0.5, 1, photos)
        right = rng.random(photos) < sure
        return np.stack([sure, 1 - sure], axis=1), np.where(right, 0, 1)

    kept = []
    for _ in range(200):
        found = choose_threshold(*draw(500), 0.8)
        if found.threshold is not None:
            kept.append((1 + found.threshold) / 2 >= 0.8)  # the true share beyond the threshold
    assert len(kept) > 180
    assert np.mean(kept) > 0.88


def test_no_lower_threshold_is_tried_once_one_has_failed() -> None:
    """Of models that are right seven times in ten throughout, one in ten gets a threshold."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        sure = rng.uniform(0.5, 1, 500)
        labels = np.where(rng.random(500) < 0.69, 0, 1)
        found.append(choose_threshold(np.stack([sure, 1 - sure], axis=1), labels, 0.7).threshold)
    assert np.mean([threshold is not None for threshold in found]) < 0.13
