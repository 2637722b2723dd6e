"""A training on cached activations, and a process that does its part in it.

`python -m tests.components.training.one_machine ACTIVATIONS FOLDER` trains where TF_CONFIG says,
and with `gpus` behind it on two devices that stand in for GPUs, in either precision.
"""

import pickle
import sys
from pathlib import Path
from typing import Literal
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.model.settings import ModelSettings
from components.training import half_precision, machines, recipes
from components.training.history import PhaseHistory
from components.training.phases import train_in_phases
from components.training.photo_batches import balanced_class_weights
from components.training.settings import FrozenSettings, PhaseSettings, TrainingSettings
from tests.ports import free_port

CLASSES = ["sad", "happy", "angry", "relaxed"]
EPOCHS = 2

Trained = tuple[list[PhaseHistory], list[NDArray[np.float32]]]


def train(
    activations: str, folder: Path, *, solver: Literal["lbfgs", "adam"], epochs: int = EPOCHS
) -> Trained:
    """Trains both phases, without dropout, whose masks each replica draws for itself.

    Returns:
        The histories, and the weights of the classifier.
    """
    keras.utils.set_random_seed(0)
    settings = TrainingSettings(
        batch_size=16,
        label_smoothing=0.1,
        patience=epochs,
        frozen=FrozenSettings(epochs=EPOCHS, learning_rate=0.01, solver=solver),
        unfrozen=PhaseSettings(epochs=epochs, learning_rate=0.002, schedule="cosine"),
    )
    recipe = recipes.cached(
        ModelSettings(backbone="tiny", weights="random", dropout=0),
        settings,
        CLASSES,
        activations=activations,
        seed=0,
        first_epoch=0,
    )
    histories = train_in_phases(
        recipe.classifier.model,
        recipe.phases,
        class_weights=balanced_class_weights(recipe.label_counts, CLASSES),
        label_smoothing=settings.label_smoothing,
        patience=settings.patience,
        folder=folder,
    )
    half = {layer.compute_dtype for layer in recipe.classifier.model._flatten_layers()}
    assert half == {"float32"}, "what is exported would compute in half precision"
    return histories, recipe.classifier.model.get_weights()


def free_address() -> str:
    """A place on this machine where nothing listens yet."""
    return f"127.0.0.1:{free_port()}"


def _on_gpus(activations: str, folder: Path) -> None:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    devices = {"old": [(6, 0)] * 2, "new": [(7, 5)] * 2, "single": [(7, 5)]}
    for name, capabilities in devices.items():
        with (
            mock.patch.object(machines, "gpus", return_value=capabilities),
            mock.patch.object(half_precision, "gpus", return_value=capabilities),
        ):
            # A second strategy would give its reductions the numbers of those of the first.
            if machines.strategy().num_replicas_in_sync != len(capabilities):
                machines.strategy.cache_clear()
            trained = train(activations, folder / name, solver="adam")
            assert machines.strategy().num_replicas_in_sync == len(capabilities)
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(trained))


def _in_cluster(activations: str, folder: Path) -> None:
    machines.strategy()
    trained = train(activations, folder / "together", solver="lbfgs")
    (folder / "together.pickle").write_bytes(pickle.dumps(trained))
    machines.wait_for_all()
    print("trained", flush=True)
    train(activations, folder / "endless", solver="adam", epochs=10_000)


if __name__ == "__main__":
    _, source, target, *devices = sys.argv
    (_on_gpus if devices else _in_cluster)(source, Path(target))
