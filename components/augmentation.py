"""Random changes of the training photos, with Keras' layers, outside of the saved model."""

from collections.abc import Callable

import keras
import tensorflow as tf

from components.settings import AugmentationSettings


def augmentation(settings: AugmentationSettings, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from a batch of photos to a randomly changed batch.

    Args:
        settings: which changes, and how large.
        seed: makes the sequence of changes repeatable.

    Returns:
        A function of float32 [N, 224, 224, 3] in [0, 255] to the same, for `tf.data`.
    """
    layers: list[keras.layers.Layer] = []
    if settings.horizontal_flip:
        layers.append(keras.layers.RandomFlip("horizontal", seed=seed))
    if settings.rotation:
        layers.append(
            keras.layers.RandomRotation(settings.rotation, fill_mode="reflect", seed=seed + 1)
        )
    if settings.contrast:
        # Of a single number Keras 3 makes the bounds (0, number), and only raises the contrast.
        both_ways = (settings.contrast, settings.contrast)
        layers.append(keras.layers.RandomContrast(both_ways, value_range=(0, 255), seed=seed + 2))

    def augment(images: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            images = layer(images, training=True)
        return images

    return augment
