import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.review.ranking import most_doubtful_first, out_of_fold


def photos(
    per_class: int, classes: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.str_]]:
    """Features in which each class has a direction of its own, labels, and a group each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    features = 6 * np.eye(16)[labels] + rng.normal(size=(len(labels), 16))
    return features.astype(np.float32), labels, np.array([f"g{i}" for i in range(len(labels))])


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_wrong_labels_come_first_with_any_number_of_classes(classes: int) -> None:
    features, labels, groups = photos(20, classes)
    flipped = labels.copy()
    wrong = np.arange(0, len(labels), 10)
    flipped[wrong] = (labels[wrong] + 1) % classes
    probabilities = out_of_fold(features, flipped, groups)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    order = most_doubtful_first(flipped, probabilities)
    assert sorted(order) == list(range(len(labels)))
    found = len(set(order[: len(wrong)]) & set(wrong))
    assert found >= 0.8 * len(wrong)


def test_no_photo_is_judged_by_its_own_near_duplicates() -> None:
    """Labels of chance: with its copies among what the head learns from, each looks right."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(60, 512)), 4, axis=0).astype(np.float32)
    labels = np.repeat(rng.integers(0, 2, 60), 4)
    together = np.repeat([f"g{i}" for i in range(60)], 4)
    apart = np.array([f"g{i}" for i in range(240)])
    right = {
        name: (out_of_fold(features, labels, groups).argmax(axis=1) == labels).mean()
        for name, groups in (("together", together), ("apart", apart))
    }
    assert right["together"] < 0.65
    assert right["apart"] > 0.95


def test_a_class_that_is_one_group_is_judged_without_a_crash() -> None:
    features, labels, groups = photos(20, 3)
    groups[labels == 2] = "all copies"
    probabilities = out_of_fold(features, labels, groups)
    assert np.isfinite(probabilities).all()
    assert (probabilities[labels == 2, 2] == 0).all()


def test_two_classes_that_are_a_group_each_say_nothing() -> None:
    features, labels, _ = photos(20, 2)
    probabilities = out_of_fold(features, labels, np.array(["a", "b"])[labels])
    assert (probabilities == 0.5).all()


def test_the_order_is_the_same_every_time() -> None:
    features, labels, groups = photos(20, 4)
    first, second = (
        most_doubtful_first(labels, out_of_fold(features, labels, groups)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
