from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.freezing import unfreeze_last
from components.training import phases as training
from components.training.checkpoint import PhaseCheckpoint
from components.training.history import PhaseHistory
from components.training.phases import (
    Phase,
    Splits,
    best_phase,
    train_in_phases,
    train_phase,
)
from components.training.recipes import FROZEN, UNFROZEN
from components.training.settings import PhaseSettings
from data.contract.progress import watched_by

WEIGHTS = {0: 1.0, 1: 1.0}
STEPS = 4
Plan = tuple[PhaseSettings, PhaseSettings]


@pytest.fixture(scope="module")
def splits() -> Splits:
    """Two classes of noise, one brighter; nothing random, so that two runs are the same."""
    rng = np.random.default_rng(0)

    def dataset(photos: int) -> tf.data.Dataset:
        labels = np.arange(photos) % 2
        pixels = rng.normal(labels[:, None, None, None] * 0.5, 1, (photos, 6, 6, 3))
        return tf.data.Dataset.from_tensor_slices((pixels.astype("float32"), labels)).batch(4)

    return Splits(dataset(4 * STEPS).repeat(), STEPS, val=dataset(8))


def build() -> tuple[keras.Model, keras.Model]:
    """A small classifier and its backbone, with the same weights each time."""
    keras.utils.set_random_seed(0)
    image = keras.Input([6, 6, 3])
    x = keras.layers.Conv2D(4, 3, name="trunk")(image)
    x = keras.layers.Conv2D(4, 3, name="conv")(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    backbone = keras.Model(image, keras.layers.ReLU()(x))
    x = keras.layers.GlobalAveragePooling2D()(backbone(image, training=False))
    return keras.Model(image, keras.layers.Dense(2, "softmax", name="head")(x)), backbone


def train_both(
    splits: Splits, folder: Path, plan: Plan, patience: int = 10
) -> tuple[keras.Model, list[PhaseHistory]]:
    model, backbone = build()

    def prepare(layers: int) -> tuple[keras.Model, Splits]:
        unfreeze_last(backbone, layers)
        return model, splits

    frozen, unfrozen = plan
    phases = [
        Phase(FROZEN, frozen, lambda: prepare(0)),
        Phase(UNFROZEN, unfrozen, lambda: prepare(3)),
    ]
    results = train_in_phases(
        model,
        phases,
        class_weights=WEIGHTS,
        label_smoothing=0,
        patience=patience,
        folder=folder,
    )
    return model, results


def train_head(
    splits: Splits,
    folder: Path,
    settings: PhaseSettings,
    class_weights: dict[int, float] = WEIGHTS,
    label_smoothing: float = 0,
) -> PhaseHistory:
    phase = Phase(FROZEN, settings, lambda: (build()[0], splits))
    return train_phase(
        phase,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        patience=9,
        folder=folder,
    )


def evaluated(model: keras.Model, split: tf.data.Dataset) -> dict[str, float]:
    """Accuracy and cross-entropy, computed from the labels as they are."""
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    figures: dict[str, float] = model.evaluate(split, verbose=0, return_dict=True)
    return figures


def weights_by_name(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in model.weights}


def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {path for path in before if not np.array_equal(before[path], after[path])}


def kill_after(epochs: int, phase: str) -> Callable[..., Any]:
    """A checkpoint whose process dies once it has committed that many epochs of a phase."""

    class Killed(PhaseCheckpoint):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            super().on_epoch_end(epoch, logs)
            if self._folder.name == phase and len(self.history) == epochs:
                raise KeyboardInterrupt

    return Killed


def never_fit(*_: object, **__: object) -> None:
    raise AssertionError("trained again")


EPOCH = PhaseSettings(epochs=1, learning_rate=0.01)
EPOCHS = PhaseSettings(epochs=3, learning_rate=0.01)
LEFT_OUT = PhaseSettings(epochs=0, learning_rate=0.01)
RUINOUS = PhaseSettings(epochs=2, learning_rate=1.0)
HARMLESS = PhaseSettings(epochs=2, learning_rate=1e-6)


def test_each_phase_moves_its_own_weights(splits: Splits, tmp_path: Path) -> None:
    untrained = weights_by_name(build()[0])
    frozen, results = train_both(splits, tmp_path / "a", (EPOCH, LEFT_OUT))
    assert [result.name for result in results] == [FROZEN]
    assert moved(untrained, weights_by_name(frozen)) == {"head/kernel", "head/bias"}
    unfrozen, results = train_both(splits, tmp_path / "b", (LEFT_OUT, EPOCH))
    assert [result.name for result in results] == [UNFROZEN]
    assert moved(untrained, weights_by_name(unfrozen)) == {
        "head/kernel",
        "head/bias",
        "conv/kernel",
        "conv/bias",
    }


@pytest.mark.parametrize(
    ("plan", "winner"),
    [((EPOCHS, RUINOUS), FROZEN), ((HARMLESS, EPOCHS), UNFROZEN)],
)
def test_the_model_ends_as_the_better_phase(
    splits: Splits, tmp_path: Path, plan: Plan, winner: str
) -> None:
    model, results = train_both(splits, tmp_path, plan)
    best = best_phase(results)
    assert best.name == winner
    val = evaluated(model, splits.val)
    assert val["loss"] == pytest.approx(best.best["val_loss"])
    assert val["loss"] == pytest.approx(min(e["val_loss"] for r in results for e in r.history))


def test_patience_ends_a_phase_early_with_its_best_epoch(splits: Splits, tmp_path: Path) -> None:
    model, (result,) = train_both(
        splits,
        tmp_path,
        (PhaseSettings(epochs=50, learning_rate=1.0), LEFT_OUT),
        patience=2,
    )
    losses = [epoch["val_loss"] for epoch in result.history]
    assert len(losses) < 50
    assert losses.index(min(losses)) == len(losses) - 3
    val = evaluated(model, splits.val)
    assert val["loss"] == pytest.approx(min(losses))
    assert set(result.best) == {"accuracy", "loss", "val_accuracy", "val_loss"}


@pytest.fixture(scope="module")
def undisturbed(
    splits: Splits, tmp_path_factory: pytest.TempPathFactory
) -> tuple[keras.Model, list[PhaseHistory]]:
    return train_both(splits, tmp_path_factory.mktemp("undisturbed"), (EPOCHS, EPOCHS))


@pytest.mark.parametrize(("phase", "epochs"), [(FROZEN, 1), (FROZEN, 3), (UNFROZEN, 2)])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    splits: Splits,
    undisturbed: tuple[keras.Model, list[PhaseHistory]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
    epochs: int,
) -> None:
    plan = (EPOCHS, EPOCHS)
    with monkeypatch.context() as patches:
        patches.setattr(training, "PhaseCheckpoint", kill_after(epochs, phase))
        with pytest.raises(KeyboardInterrupt):
            train_both(splits, tmp_path, plan)
    model, results = train_both(splits, tmp_path, plan)
    expected_model, expected = undisturbed
    assert [result.name for result in results] == [FROZEN, UNFROZEN]
    for result, other in zip(results, expected, strict=True):
        assert len(result.history) == 3
        for epoch, same in zip(result.history, other.history, strict=True):
            assert epoch == pytest.approx(same, rel=1e-4)
    for weight, same in zip(model.get_weights(), expected_model.get_weights(), strict=True):
        np.testing.assert_allclose(weight, same, rtol=1e-3, atol=1e-5)


def test_the_optimizer_goes_on_too(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patches:
        patches.setattr(training, "PhaseCheckpoint", kill_after(2, FROZEN))
        with pytest.raises(KeyboardInterrupt):
            train_head(splits, tmp_path, EPOCHS)
    starts: list[int] = []
    fit = keras.Model.fit

    def watched_fit(self: keras.Model, *args: Any, **kwargs: Any) -> Any:
        starts.append(int(self.optimizer.iterations))
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", watched_fit)
    train_head(splits, tmp_path, EPOCHS)
    assert starts == [2 * STEPS]


def test_a_finished_training_is_not_repeated(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = (EPOCHS, EPOCH)
    first, expected = train_both(splits, tmp_path, plan)
    monkeypatch.setattr(keras.Model, "fit", never_fit)
    second, results = train_both(splits, tmp_path, plan)
    assert [result.history for result in results] == [result.history for result in expected]
    for weight, same in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_allclose(weight, same, rtol=1e-6)


def test_class_weights_count_in_the_training_loss_alone(splits: Splits, tmp_path: Path) -> None:
    def train(weight: float) -> dict[str, float]:
        still = PhaseSettings(epochs=1, learning_rate=1e-9)
        weights = {0: weight, 1: weight}
        return train_head(splits, tmp_path / str(weight), still, weights).best

    once, twice = train(1.0), train(2.0)
    assert twice["loss"] == pytest.approx(2 * once["loss"], rel=1e-4)
    assert twice["val_loss"] == pytest.approx(once["val_loss"], rel=1e-4)


def test_smoothing_moves_the_training_labels_alone(splits: Splits, tmp_path: Path) -> None:
    def train(smoothing: float) -> dict[str, float]:
        still = PhaseSettings(epochs=1, learning_rate=1e-9)
        folder = tmp_path / str(smoothing)
        return train_head(splits, folder, still, label_smoothing=smoothing).best

    model = build()[0]
    batches = splits.train.take(splits.train_steps)
    likelihood = np.concatenate([model(x, training=True) for x, _ in batches])
    labels = np.eye(2)[np.concatenate([y for _, y in batches])] * 0.8 + 0.1
    smoothed, plain = train(0.2), train(0.0)
    expected = -np.mean(np.sum(labels * np.log(likelihood), axis=1))
    assert smoothed["loss"] == pytest.approx(expected, rel=1e-4)
    assert smoothed["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-4)
    assert smoothed["accuracy"] == plain["accuracy"]


def test_a_cosine_ends_at_a_learning_rate_of_zero(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    class Watched(PhaseCheckpoint):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            super().on_epoch_end(epoch, logs)
            rates.append(float(self.model.optimizer.learning_rate))

    monkeypatch.setattr(training, "PhaseCheckpoint", Watched)
    cosine = PhaseSettings(epochs=4, learning_rate=0.01, schedule="cosine")
    train_head(splits, tmp_path, cosine)
    expected = [0.01 * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in (1, 2, 3, 4)]
    assert rates == pytest.approx(expected, abs=1e-6)


def test_epochs_are_counted_for_whoever_watches_and_printed_for_nobody(
    splits: Splits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, int, int]] = []
    with watched_by(lambda *count: told.append(count)):
        result = train_head(
            splits, tmp_path / "watched", PhaseSettings(epochs=2, learning_rate=0.1)
        )
    assert [count[1:] for count in told] == [(0, 2), (1, 2), (2, 2)]
    reached = [epoch["val_accuracy"] for epoch in result.history]
    assert [label for label, *_ in told[1:]] == [
        f"frozen: val accuracy {accuracy:.3f}, epoch" for accuracy in reached
    ]
    assert "Epoch" not in capsys.readouterr().out
    train_head(splits, tmp_path / "alone", PhaseSettings(epochs=2, learning_rate=0.1))
    assert "Epoch 2/2" in capsys.readouterr().out
