"""Small models trained on two devices of this machine, in a process of its own.

`python -m tests.components.training.two_devices FILE` writes their weights to that file.
"""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.training import half_precision, machines
from components.training.fit_on_replicas import fit_on_replicas
from components.training.machines import strategy

ONE_OF_EACH = np.eye(2, dtype=np.float32)
"""The labels of each batch: each device gets one photo."""

GPUS = [(7, 5)] * 2

HARMLESS = np.array([[1], [2]], np.float32)
OVERFLOWING = np.array([[1], [10_000]], np.float32)
"""The loss is 8 for the second device's photo; with the scale of 2**15, the gradient is infinite in
float16, whose largest number is 65,504."""


def _trained(
    layers: Callable[[], list[keras.layers.Layer]], batches: list[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """The weights after a step with each batch."""
    with strategy().scope():
        model = keras.Sequential([keras.Input(batches[0].shape[1:]), *layers()])
    photos = tf.data.Dataset.from_tensor_slices(np.stack(batches))
    with half_precision.half_precision(model):
        with strategy().scope():
            model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
            model.optimizer.build(model.trainable_variables)
        fit_on_replicas(
            model,
            photos.map(lambda inputs: (inputs, ONE_OF_EACH)),
            None,
            steps=len(batches),
            first_epoch=0,
            epochs=1,
            class_weights={0: 1.0, 1: 1.0},
            callbacks=[],
            verbose=0,
        )
    weights: list[NDArray[np.float32]] = model.get_weights()
    return weights


def _in_half_precision(batches: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    def layers() -> list[keras.layers.Layer]:
        kernel = keras.initializers.Constant([[4e-4, -4e-4]])
        return [
            keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
            keras.layers.Dense(2, "softmax", kernel_initializer=kernel),
        ]

    with mock.patch.object(half_precision, "gpus", return_value=GPUS):
        return _trained(layers, batches)


def _with_dropout() -> list[NDArray[np.float32]]:
    """Of a thousand inputs, alike in both photos: with the same mask, their gradients cancel."""

    def layers() -> list[keras.layers.Layer]:
        return [
            keras.layers.Dropout(0.5, seed=0),
            keras.layers.Dense(2, "softmax", kernel_initializer="zeros"),
        ]

    return _trained(layers, [np.ones((2, 1000), np.float32)])


def _on_two_devices() -> dict[str, list[NDArray[np.float32]]]:
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with mock.patch.object(machines, "gpus", return_value=GPUS):
        strategy()
    return {
        "harmless": _in_half_precision([HARMLESS]),
        "overflowing first": _in_half_precision([OVERFLOWING, HARMLESS]),
        "dropout": _with_dropout(),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pickle.dumps(_on_two_devices()))
