"""The head's optimum, against scikit-learn's and against what is known of it."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from components.errors import ComponentError
from components.training import head
from components.training.head import PENALTIES, POINTS, Labelled, solve_head

CLASSES = 3
BALANCED = [1.0] * CLASSES


def photos(count: int, *, seed: int, noise: float = 1.0, features: int = 12) -> Labelled:
    """Features around a centre for each class, far from zero, at a scale of their own."""
    centres = np.random.default_rng(7).normal(size=(CLASSES, features))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    values = centres[labels] + rng.normal(scale=noise, size=(count, features))
    return (20 + 5 * values).astype(np.float32), labels


def accuracy(solved: head.SolvedHead, seen: Labelled) -> float:
    return float(((seen[0] @ solved.kernel + solved.bias).argmax(axis=1) == seen[1]).mean())


def test_it_is_the_minimum_that_scikit_learn_finds() -> None:
    views = [photos(150, seed=1), photos(150, seed=2)]
    weights = [0.5, 1.0, 2.0]
    solved = solve_head(views, photos(60, seed=3), class_weights=weights, seed=0)
    features, labels = (np.concatenate(each) for each in zip(*views, strict=True))
    shares = np.asarray(weights)[labels]
    reference = LogisticRegression(C=1 / (solved.penalty * shares.sum()), tol=1e-8, max_iter=5000)
    centre, scale = features.mean(axis=0), features.std(axis=0).mean()
    reference.fit((features - centre) / scale, labels, sample_weight=shares)
    wanted = reference.predict_proba((features - centre) / scale)
    logits = features @ solved.kernel + solved.bias
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), wanted, atol=2e-3)


def test_the_penalty_is_stronger_where_the_features_say_less() -> None:
    val = photos(60, seed=3)
    sure, unsure = (
        solve_head([photos(200, seed=1, noise=noise)], val, class_weights=BALANCED, seed=0)
        for noise in (0.3, 8.0)
    )
    assert sure.penalty < unsure.penalty
    assert {sure.penalty, unsure.penalty} <= set(PENALTIES)
    assert accuracy(sure, photos(300, seed=4, noise=0.3)) > 0.95


def test_the_validation_photos_decide_nothing() -> None:
    train = [photos(120, seed=1)]
    one, other = (
        solve_head(train, photos(50, seed=seed), class_weights=BALANCED, seed=0) for seed in (3, 4)
    )
    np.testing.assert_array_equal(one.kernel, other.kernel)
    assert one.curve != other.curve


def test_the_curve_ends_at_the_optimum() -> None:
    train, val = photos(200, seed=1), photos(80, seed=3)
    solved = solve_head([train], val, class_weights=BALANCED, seed=0)
    assert 2 <= len(solved.curve) <= POINTS
    assert solved.curve[-1]["accuracy"] == pytest.approx(accuracy(solved, train))
    assert solved.curve[-1]["val_accuracy"] == pytest.approx(accuracy(solved, val))
    losses = [point["loss"] for point in solved.curve]
    assert losses[-1] < losses[0]


def test_a_rare_class_is_heard_if_its_weight_says_so() -> None:
    features, labels = photos(400, seed=1, noise=3.0)
    few = (labels != 2) | (np.cumsum(labels == 2) <= 10)
    train = (features[few], labels[few])
    seen = photos(400, seed=4, noise=3.0)
    rare = seen[1] == 2
    counts = np.bincount(train[1])
    told = []
    for weights in (BALANCED, [float(w) for w in len(train[1]) / (CLASSES * counts)]):
        solved = solve_head([train], seen, class_weights=weights, seed=0)
        told.append(((seen[0][rare] @ solved.kernel + solved.bias).argmax(axis=1) == 2).mean())
    assert told[1] > told[0] + 0.2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_are_all_the_same_give_no_error(value: float) -> None:
    labels = np.arange(39) % CLASSES
    same = (np.full((39, 5), value, np.float32), labels)
    solved = solve_head([same], same, class_weights=BALANCED, seed=0)
    assert np.isfinite(solved.kernel).all()
    assert np.isfinite(solved.bias).all()


def test_features_that_are_no_numbers_are_refused() -> None:
    features, labels = photos(40, seed=1)
    features[3, 2] = np.nan
    with pytest.raises(ComponentError, match="not finite: take other weights"):
        solve_head([(features, labels)], photos(20, seed=2), class_weights=BALANCED, seed=0)
