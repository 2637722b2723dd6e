"""The head trained in memory, against Keras' training of the same head."""

import keras
import numpy as np
import pytest

from components.training.head import Labelled
from components.training.head_epochs import HeadEpochs, HeadSettings

CLASSES = 3
WEIGHTS = [0.5, 1.0, 2.0]


def photos(count: int, *, seed: int, noise: float = 1.0, features: int = 12) -> Labelled:
    """Features around a centre for each class."""
    centres = np.random.default_rng(7).normal(size=(CLASSES, features))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    values = centres[labels] + rng.normal(scale=noise, size=(count, features))
    return values.astype(np.float32), labels


def settings(**changes: float) -> HeadSettings:
    plain = {
        "dropout": 0.0,
        "label_smoothing": 0.0,
        "batch_size": 32,
        "learning_rate": 0.01,
        "cosine": False,
        "epochs": 6,
    }
    return HeadSettings(**(plain | changes))  # type: ignore[arg-type]


def begun(views: list[Labelled], val: Labelled, **changes: float) -> HeadEpochs:
    return HeadEpochs(views, val, class_weights=WEIGHTS, settings=settings(**changes), seed=3)


@pytest.mark.parametrize("cosine", [False, True])
def test_it_takes_the_steps_that_keras_takes(cosine: bool) -> None:
    views, val = [photos(90, seed=1), photos(90, seed=2)], photos(40, seed=4)
    # One batch an epoch: the order of the photos, which is drawn otherwise, does not matter then.
    head = begun(views, val, batch_size=90, label_smoothing=0.2, cosine=cosine)
    model = keras.Sequential([keras.Input([12]), keras.layers.Dense(CLASSES, activation="softmax")])
    model.set_weights([head.head[:-1], head.head[-1]])
    rate = keras.optimizers.schedules.CosineDecay(0.01, 6) if cosine else 0.01
    model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", jit_compile=False)
    losses = []
    for epoch in range(6):
        features, labels = views[epoch % 2]
        wanted = np.eye(CLASSES)[labels] * 0.8 + 0.2 / CLASSES
        kwargs = {"class_weight": dict(enumerate(WEIGHTS)), "batch_size": 90, "verbose": 0}
        model.fit(features, wanted, **kwargs)
        losses.append(model.evaluate(val[0], np.eye(CLASSES)[val[1]], verbose=0))
    assert head.train(until=6) == pytest.approx(min(losses), rel=1e-4)
    np.testing.assert_allclose(head.head[:-1], model.get_weights()[0], atol=1e-5)
    np.testing.assert_allclose(head.head[-1], model.get_weights()[1], atol=1e-5)


def test_going_on_is_the_same_as_never_having_stopped() -> None:
    views, val = [photos(100, seed=1), photos(100, seed=2)], photos(40, seed=4)
    whole, halves = (begun(views, val, dropout=0.5) for _ in range(2))
    halves.train(until=2)
    assert halves.train(until=5) == whole.train(until=5)
    np.testing.assert_array_equal(halves.head, whole.head)


def test_it_learns_and_leaves_the_features_alone() -> None:
    train, val = photos(300, seed=1), photos(100, seed=4)
    before = train[0].copy()
    head = begun([train], val, dropout=0.3)
    first = head.train(until=1)
    assert head.train(until=6) < first < 1.5
    np.testing.assert_array_equal(train[0], before)


def test_dropout_holds_back_what_is_learnt_by_heart() -> None:
    train, val = (
        photos(40, seed=1, noise=3, features=200),
        photos(300, seed=4, noise=3, features=200),
    )
    long = {"epochs": 150, "learning_rate": 0.003}
    plain, dropped = (begun([train], val, dropout=share, **long) for share in (0.0, 0.6))
    for head in (plain, dropped):
        head.train(until=150)
    assert dropped.least < plain.least
