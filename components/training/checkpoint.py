"""Epoch checkpoints that survive a kill at any moment.

Keras' own BackupAndRestore overwrites its files in place and forgets what early stopping has
seen. Here, each epoch is a folder, complete or absent: it is written under a temporary name and
renamed, and holds all that the phase needs to go on. The files are NumPy's, because HDF5, which
Keras writes, takes the process down with it when the disk is full.
"""

import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from components.errors import ComponentError
from components.training.history import Epoch, best_epoch

_STATE, _KEPT, _HISTORY = "state.npz", "kept.npz", "history.json"


def is_finished(history: list[Epoch], *, epochs: int, patience: int) -> bool:
    """Whether the phase has had all its epochs, or `patience` of them since the best one."""
    if not history:
        return epochs == 0
    return len(history) >= epochs or len(history) - 1 - best_epoch(history) >= patience


def committed_epochs(folder: Path) -> int:
    """How many epochs, over all phases, a training's folder holds."""
    newest = filter(None, map(_newest_epoch, folder.glob("*")))
    return sum(int(epoch.name.removeprefix("epoch-")) for epoch in newest)


def remove(folder: Path) -> None:
    """Removes a folder completely or not at all: what a kill leaves of it has another name."""
    doomed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _newest_epoch(phase: Path) -> Path | None:
    return max(phase.glob("epoch-?????"), default=None)


class PhaseCheckpoint(keras.callbacks.Callback):
    """Commits every epoch of one phase to a folder, stops the phase early, and restores it.

    Attributes:
        name: of the folder.
        epochs: how many the phase is to have at the most.
        history: the epochs so far, including those before a kill.
    """

    def __init__(self, folder: Path, *, epochs: int, patience: int | None) -> None:
        """Finds what the phase has behind it.

        Args:
            folder: the phase's, in the folder of its training.
            epochs: how many it is to have.
            patience: how many without a better one end it. Without any, it has all its epochs and
                ends with the last one, and nothing need be validated.

        Raises:
            ComponentError: what is kept is damaged, as after a power cut; so do the other methods.
        """
        super().__init__()
        self._folder, self.name = folder, folder.name
        self.epochs, self._patience = epochs, patience
        committed = self._newest()
        self.history: list[Epoch] = []
        if committed:
            with _damage_named(committed):
                self.history = json.loads((committed / _HISTORY).read_text())

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train in this phase."""
        if self._patience is None:
            return len(self.history) >= self.epochs
        return is_finished(self.history, epochs=self.epochs, patience=self._patience)

    @property
    def kept(self) -> int:
        """The index of the epoch that the phase ends with."""
        return len(self.history) - 1 if self._patience is None else best_epoch(self.history)

    def restore_state(self, model: keras.Model) -> None:
        """Puts a compiled model, and its optimizer, where the newest epoch left them."""
        if committed := self._newest():
            model.optimizer.build(model.trainable_variables)
            _load(committed / _STATE, _state(model))

    def restore_kept(self, model: keras.Model) -> None:
        """Gives the model the weights of the epoch that the phase ends with."""
        if committed := self._newest():
            _load(committed / _KEPT, model.weights)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        previous = self._newest()
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        target = self._folder / f"epoch-{len(self.history):05d}"
        unfinished = target.with_suffix(".tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        model = self.model
        _save(unfinished / _STATE, _state(model))
        if previous is None or self.kept == len(self.history) - 1:
            _save(unfinished / _KEPT, model.weights)
        else:
            shutil.copyfile(previous / _KEPT, unfinished / _KEPT)
        (unfinished / _HISTORY).write_text(json.dumps(self.history))
        unfinished.rename(target)
        if previous:
            remove(previous)
        if self.finished:
            self.model.stop_training = True

    def _newest(self) -> Path | None:
        return _newest_epoch(self._folder)


def _state(model: keras.Model) -> list[keras.Variable]:
    """What a phase goes on with, whatever the precision of the devices that it goes on with.

    The scale of the loss, which only float16 needs, is left out: it finds its size anew, by a few
    steps that are skipped.
    """
    optimizer = model.optimizer
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return [*model.weights, *optimizer.variables]


def _save(file: Path, variables: Sequence[keras.Variable]) -> None:
    np.savez(file, *(variable.numpy() for variable in variables))


def _load(file: Path, variables: Sequence[keras.Variable]) -> None:
    with _damage_named(file.parent), np.load(file) as arrays:
        for variable, name in zip(variables, arrays.files, strict=True):
            variable.assign(arrays[name])


@contextmanager
def _damage_named(epoch: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile) as error:
        training = epoch.parents[1]
        raise ComponentError(f"{epoch} is damaged: delete {training} and run again") from error
