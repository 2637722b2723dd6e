import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from components.model.subject import KEPT, Subject, fit_subject

Features = NDArray[np.float32]


def alike(photos: int, seed: int) -> Features:
    """Features in few directions, and a little noise in all."""
    directions = np.random.default_rng(99).normal(size=(5, 60))
    rng = np.random.default_rng(seed)
    values = 3 + rng.normal(size=(photos, 5)) @ directions + 0.3 * rng.normal(size=(photos, 60))
    return values.astype(np.float32)


def unlike(photos: int) -> Features:
    return (3 + 2 * np.random.default_rng(5).normal(size=(photos, 60))).astype(np.float32)


def scores(subject: Subject, features: Features) -> Features:
    found: Features = subject.score(tf.constant(features)).numpy()
    return found


def test_photos_alike_are_kept_and_others_told() -> None:
    subject = fit_subject(alike(400, 0), alike(200, 1))
    assert np.mean(scores(subject, alike(1000, 2)) >= 0.5) > 0.95
    assert np.mean(scores(subject, unlike(200)) < 0.5) > 0.95


def test_half_is_the_threshold_that_keeps_the_validation_photos() -> None:
    val = alike(200, 1)
    subject = fit_subject(alike(400, 0), val)
    kept = float(np.mean(scores(subject, val) >= 0.5 - 1e-4))
    assert kept == pytest.approx(subject.val_kept)
    assert KEPT <= kept < KEPT + 0.02


@pytest.mark.parametrize("photos", [2, 20])
def test_few_photos_give_a_score_too(photos: int) -> None:
    subject = fit_subject(alike(photos, 0), alike(1, 1))
    found = scores(subject, np.concatenate([alike(9, 2), np.zeros((1, 60), np.float32)]))
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert subject.val_kept == 1
