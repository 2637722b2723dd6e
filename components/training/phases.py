"""Transfer learning in two phases: the head alone, then the backbone's last layers with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from components.training.checkpoint import PhaseCheckpoint
from components.training.fit_on_replicas import fit_on_replicas
from components.training.half_precision import half_precision
from components.training.history import PhaseHistory
from components.training.machines import as_chief_says, strategy
from components.training.settings import PhaseSettings
from data.contract.progress import Watch, watching


@dataclass(frozen=True)
class Splits:
    """The photos to learn from as datasets of (what the phase's model takes, int64 [N]) batches.

    Where several machines train together, a batch is the share of this one.
    """

    train: tf.data.Dataset
    """Shuffled and augmented, one epoch after the other, endlessly. In place of the class ids there
    may be probabilities, float32 [N, classes]."""
    train_steps: int
    """Batches per epoch of `train`."""
    val: tf.data.Dataset


@dataclass(frozen=True)
class Phase:
    """What one phase trains, and on what."""

    name: str
    settings: PhaseSettings
    prepare: Callable[[], tuple[keras.Model, Splits]]
    """Called when the phase begins: sets what is trainable, and returns the model to fit, which
    shares the classifier's variables, with the photos for it."""
    solve: Callable[[dict[int, float]], PhaseHistory] | None = None
    """Finds the optimum of what the phase trains at once, given the classes' weights; None where
    the phase is trained by epochs."""


def train_phase(
    phase: Phase,
    *,
    class_weights: dict[int, float],
    label_smoothing: float,
    patience: int,
    folder: Path,
) -> PhaseHistory:
    """Trains what is trainable in the phase's model and leaves it with the best epoch's weights.

    Args:
        phase: at least one epoch; of its splits `train` is fitted, `val` chooses the epoch.
        class_weights: weight of each class id in the training loss.
        label_smoothing: how much of each training label is spread over all classes, in [0, 1):
            https://arxiv.org/abs/1512.00567, section 7.
        patience: epochs without a lower validation loss before the phase stops.
        folder: where the epochs are kept; a phase that was killed goes on from there, and one that
            is solved is solved again.

    Returns:
        The history of all epochs.
    """
    if phase.solve:
        return as_chief_says(phase.solve(class_weights))
    checkpoint = PhaseCheckpoint(
        folder / phase.name, epochs=phase.settings.epochs, patience=patience
    )
    _fit(phase, checkpoint, class_weights, label_smoothing, folder, validated=True)
    return PhaseHistory(phase.name, checkpoint.history, checkpoint.kept)


def refit_phase(
    phase: Phase,
    epochs: int,
    *,
    class_weights: dict[int, float],
    label_smoothing: float,
    folder: Path,
) -> None:
    """Trains as `train_phase` does, but for a number of epochs that was chosen before.

    Args:
        phase: its splits' `train` is fitted.
        epochs: how many; the learning rate falls as if the phase had all of its epochs.
        class_weights: as for `train_phase`.
        label_smoothing: as for `train_phase`.
        folder: where the epochs are kept, apart from those of `train_phase`.
    """
    if phase.solve:
        phase.solve(class_weights)
        return
    checkpoint = PhaseCheckpoint(folder / f"refit-{phase.name}", epochs=epochs, patience=None)
    _fit(phase, checkpoint, class_weights, label_smoothing, folder, validated=False)


def _fit(
    phase: Phase,
    checkpoint: PhaseCheckpoint,
    class_weights: dict[int, float],
    label_smoothing: float,
    folder: Path,
    *,
    validated: bool,
) -> None:
    """Trains the epochs that the checkpoint lacks, and leaves the weights of the one it keeps."""
    settings, name = phase.settings, checkpoint.name
    shared = strategy()
    with shared.scope():
        model, splits = phase.prepare()
    classes = model.output.shape[-1]
    train = _with_one_hot_labels(splits.train, classes, label_smoothing)
    val = _with_one_hot_labels(splits.val, classes, 0.0) if validated else None
    with half_precision(model):
        with shared.scope():
            # The change of `trainable` only counts once the model is compiled again. On a CPU, XLA
            # is slower than TensorFlow's own kernels by an order of magnitude.
            model.compile(
                optimizer=keras.optimizers.Adam(_learning_rate(settings, splits.train_steps)),
                loss=keras.losses.CategoricalCrossentropy(),
                metrics=["accuracy"],
                jit_compile=False,
            )
            model.optimizer.build(model.trainable_variables)
        if checkpoint.history and not checkpoint.finished:
            print(f"  phase {name}: going on after epoch {len(checkpoint.history)}", flush=True)
            checkpoint.restore_state(model)
        if not checkpoint.finished:
            trainable = sum(int(tf.size(variable)) for variable in model.trainable_variables)
            print(
                f"  phase {name}: {trainable:,} trainable parameters, "
                f"learning rate {settings.learning_rate:g}, at most {checkpoint.epochs} epochs",
                flush=True,
            )
            watch = watching()
            callbacks = [
                checkpoint,
                keras.callbacks.TensorBoard(folder / "tensorboard" / name),
                *([_EpochsCounted(name, checkpoint.epochs, watch)] if watch else []),
            ]
            verbose = 0 if watch else 2
            if shared.num_replicas_in_sync > 1:
                fit_on_replicas(
                    model,
                    train,
                    val,
                    steps=splits.train_steps,
                    first_epoch=len(checkpoint.history),
                    epochs=checkpoint.epochs,
                    class_weights=class_weights,
                    callbacks=callbacks,
                    verbose=verbose,
                )
            else:
                model.fit(
                    train,
                    validation_data=val,
                    steps_per_epoch=splits.train_steps,
                    initial_epoch=len(checkpoint.history),
                    epochs=checkpoint.epochs,
                    class_weight=class_weights,
                    shuffle=False,  # the dataset does it
                    callbacks=callbacks,
                    verbose=verbose,
                )
    checkpoint.restore_kept(model)


class _EpochsCounted(keras.callbacks.Callback):
    """Counts a phase's epochs for whoever watches."""

    def __init__(self, phase: str, epochs: int, watch: Watch) -> None:
        super().__init__()
        self._phase, self._epochs, self._watch = phase, epochs, watch

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch == 0:  # from when the first one is timed
            self._watch(f"{self._phase}: epoch", 0, self._epochs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = logs or {}
        told = "val_accuracy" if "val_accuracy" in figures else "accuracy"
        reached = f"{told.replace('_', ' ')} {figures[told]:.3f}"
        self._watch(f"{self._phase}: {reached}, epoch", epoch + 1, self._epochs)


def _learning_rate(
    settings: PhaseSettings, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if settings.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            settings.learning_rate, settings.epochs * steps
        )
    return settings.learning_rate


def _with_one_hot_labels(
    batches: tf.data.Dataset, classes: int, smoothing: float
) -> tf.data.Dataset:
    """Labels as float32 [N, classes]; smoothed here, not in the loss, which validation shares."""
    if batches.element_spec[1].dtype.is_floating:  # as those of a classifier that is taught
        return batches
    return batches.map(
        lambda inputs, labels: (
            inputs,
            tf.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes,
        )
    )


def train_in_phases(
    model: keras.Model,
    phases: Sequence[Phase],
    *,
    class_weights: dict[int, float],
    label_smoothing: float,
    patience: int,
    folder: Path,
) -> list[PhaseHistory]:
    """Runs one phase after the other; the model ends up with the weights of the best.

    The best phase is the one whose best epoch has the lowest validation loss: unfreezing can
    overfit a small set of photos, and then its weights are not the ones to serve.

    Args:
        model: the whole classifier, which shares its variables with the models of the phases.
        phases: the phases; one with 0 epochs is left out.
        class_weights: weight of each class id in the training loss.
        label_smoothing: how much of each training label is spread over all classes, in [0, 1):
            https://arxiv.org/abs/1512.00567, section 7.
        patience: epochs without a lower validation loss before a phase stops.
        folder: where the epochs are kept.

    Returns:
        The history of each phase that ran, in order.
    """
    results: list[PhaseHistory] = []
    best_weights = model.get_weights()
    for phase in phases:
        if phase.settings.epochs == 0:
            continue
        results.append(
            train_phase(
                phase,
                class_weights=class_weights,
                label_smoothing=label_smoothing,
                patience=patience,
                folder=folder,
            )
        )
        if results[-1] is best_phase(results):
            best_weights = model.get_weights()
    model.set_weights(best_weights)
    return results


def refit_in_phases(
    phases: Sequence[Phase],
    chosen: Sequence[PhaseHistory],
    *,
    class_weights: dict[int, float],
    label_smoothing: float,
    folder: Path,
) -> None:
    """Trains a new classifier as the one that was chosen by validation, on other photos.

    Args:
        phases: of the new classifier.
        chosen: what `train_in_phases` gave: the phases up to the best one are run again, each for
            as many epochs as led to the weights it ended with.
        class_weights: weight of each class id in the training loss.
        label_smoothing: as for `train_in_phases`.
        folder: where the epochs are kept.
    """
    epochs = {result.name: result.kept + 1 for result in chosen}
    for phase in phases:
        if phase.name in epochs:
            refit_phase(
                phase,
                epochs[phase.name],
                class_weights=class_weights,
                label_smoothing=label_smoothing,
                folder=folder,
            )
        if phase.name == best_phase(chosen).name:
            break


def best_phase(results: Sequence[PhaseHistory]) -> PhaseHistory:
    """The phase with the lowest validation loss."""
    return min(results, key=lambda result: result.best["val_loss"])
