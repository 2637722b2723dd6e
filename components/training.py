"""Transfer learning in two phases: the head alone, then the backbone's last layers with it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from components.backbone import freeze
from components.checkpoint import Epoch, PhaseCheckpoint, best_epoch
from components.settings import ModelSettings, PhaseSettings, TrainingSettings

FROZEN, UNFROZEN = PHASES = ("frozen", "unfrozen")


@dataclass(frozen=True)
class Splits:
    """The three splits as datasets of (float32 [N, 224, 224, 3], int64 [N]) batches."""

    train: tf.data.Dataset
    """Shuffled and augmented."""
    val: tf.data.Dataset
    test: tf.data.Dataset


@dataclass(frozen=True)
class PhaseResult:
    """What one phase reached."""

    name: str
    history: list[Epoch]
    test: dict[str, float]
    """`accuracy` and `loss` of the best epoch's weights on the test photos."""

    @property
    def best(self) -> Epoch:
        """The epoch whose weights the phase ends with."""
        return self.history[best_epoch(self.history)]


def train_phase(
    model: keras.Model,
    name: str,
    settings: PhaseSettings,
    *,
    splits: Splits,
    class_weights: dict[int, float],
    patience: int,
    folder: Path,
) -> PhaseResult:
    """Trains what is trainable in the model and leaves it with the best epoch's weights.

    Args:
        model: the classifier; its `trainable` flags say what this phase trains.
        name: the phase, for the progress lines.
        settings: epochs, at least 1, and learning rate.
        splits: `train` is fitted, `val` chooses the epoch, `test` is only measured.
        class_weights: weight of each class id in the training loss.
        patience: epochs without a lower validation loss before the phase stops.
        folder: where the epochs are kept; a phase that was killed goes on from there.

    Returns:
        The history of all epochs and the figures on `test`.
    """
    # Compiling after `trainable` changed is what makes the change count. XLA is slower than
    # TensorFlow's own kernels on CPU by an order of magnitude.
    model.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=False,
    )
    checkpoint = PhaseCheckpoint(folder / name, epochs=settings.epochs, patience=patience)
    if checkpoint.history and not checkpoint.finished:
        print(f"  phase {name}: going on after epoch {len(checkpoint.history)}", flush=True)
        checkpoint.restore_state(model)
    if not checkpoint.finished:
        trainable = sum(int(tf.size(variable)) for variable in model.trainable_variables)
        print(
            f"  phase {name}: {trainable:,} trainable parameters, "
            f"learning rate {settings.learning_rate:g}, at most {settings.epochs} epochs",
            flush=True,
        )
        model.fit(
            splits.train,
            validation_data=splits.val,
            initial_epoch=len(checkpoint.history),
            epochs=settings.epochs,
            class_weight=class_weights,
            shuffle=False,  # the dataset does it
            callbacks=[checkpoint, keras.callbacks.TensorBoard(folder / "tensorboard" / name)],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    checkpoint.restore_best(model)
    test = model.evaluate(splits.test, verbose=0, return_dict=True)
    return PhaseResult(name, checkpoint.history, {key: float(test[key]) for key in test})


def train_in_phases(
    model: keras.Model,
    backbone: keras.Model,
    model_settings: ModelSettings,
    settings: TrainingSettings,
    *,
    splits: Splits,
    class_weights: dict[int, float],
    folder: Path,
) -> list[PhaseResult]:
    """Runs phase `frozen`, then phase `unfrozen`; the model ends as the better of the two.

    The better phase is the one whose best epoch has the lower validation loss: unfreezing can
    overfit a small set of photos, and then its weights are not the ones to serve.

    Args:
        model: the classifier around the backbone.
        backbone: the backbone within it.
        model_settings: how many layers phase `unfrozen` trains.
        settings: the phases; one with 0 epochs is left out.
        splits: the photos.
        class_weights: weight of each class id in the training loss.
        folder: where the epochs are kept.

    Returns:
        The result of each phase that ran, in their order.
    """
    plan: dict[str, tuple[PhaseSettings, Callable[[], None]]] = {
        FROZEN: (settings.frozen, lambda: freeze(backbone, 0)),
        UNFROZEN: (settings.unfrozen, lambda: freeze(backbone, model_settings.unfreeze_layers)),
    }
    results: list[PhaseResult] = []
    best_weights = model.get_weights()
    for name, (phase, set_trainable) in plan.items():
        if phase.epochs == 0:
            continue
        set_trainable()
        result = train_phase(
            model,
            name,
            phase,
            splits=splits,
            class_weights=class_weights,
            patience=settings.patience,
            folder=folder,
        )
        results.append(result)
        if result is best_phase(results):
            best_weights = model.get_weights()
    model.set_weights(best_weights)
    return results


def best_phase(results: list[PhaseResult]) -> PhaseResult:
    """The phase with the lowest validation loss."""
    return min(results, key=lambda result: result.best["val_loss"])
