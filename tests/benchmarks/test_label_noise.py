import numpy as np
import pytest

from benchmarks.label_noise import as_text, flip, measure


def test_a_tenth_of_the_labels_are_flipped_each_to_another_class() -> None:
    labels = np.arange(1000) % 4
    flipped = flip(labels, 0.1, seed=0)
    changed = flipped != labels
    assert changed.sum() == 100
    assert set(flipped) == {0, 1, 2, 3}
    assert set((flipped - labels)[changed] % 4) == {1, 2, 3}
    np.testing.assert_array_equal(flip(labels, 0.1, seed=0), flipped)
    assert (flip(labels, 0.1, seed=1) != flipped).any()


def test_where_classes_are_plain_a_review_finds_and_mends_what_was_flipped() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    features = (6 * np.eye(32)[labels] + rng.normal(size=(400, 32))).astype(np.float32)
    groups = np.array([f"g{index}" for index in range(400)])
    figures = [measure(features, labels, groups, seed) for seed in range(2)]
    for each in figures:
        assert each.precision_half > 0.7
        assert each.recall_half == pytest.approx(each.precision_half / 2, abs=0.05)
        assert each.perfect >= each.before - 0.03
    text = as_text(figures)
    assert text.splitlines()[0].split() == ["mean", "+-", "from", "to"]
    assert f"{np.mean([each.precision for each in figures]):.3f}" in text
