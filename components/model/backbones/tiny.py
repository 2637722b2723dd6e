"""A backbone for tests: the shapes of the real ones for a twentieth of the work."""

from collections.abc import Iterator
from itertools import count

import keras
from keras import layers

from components.model.backbone import Backbone

_CHANNELS = 64
_TAIL_BLOCKS = 5
_BRANCH_SCALE = 0.2
"""Keeps blocks from doubling the variance, which frozen BatchNormalization does not undo."""


def build_tiny() -> keras.Model:
    """Builds a small residual network, each time with the same random weights.

    Its last 30 layers are five residual blocks on the 7x7 grid. The max-pooled random filters
    before them keep enough of a picture for these to learn from.

    Returns:
        float32 [N, 224, 224, 3] in [0, 255] to float32 [N, 7, 7, 64].
    """
    seeds = count()
    image = layers.Input([224, 224, 3])
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    x = _pooled_conv(x, seeds, "stem1", filters=16, kernel=5, strides=2, pool=4)
    x = _pooled_conv(x, seeds, "stem2", filters=32, kernel=3, strides=1, pool=2)
    x = _pooled_conv(x, seeds, "stem3", filters=_CHANNELS, kernel=3, strides=1, pool=2)
    for block in range(1, _TAIL_BLOCKS + 1):
        x = _residual_block(x, seeds, f"block{block}")
    return keras.Model(image, x, name="tiny")


def _pooled_conv(
    x: keras.KerasTensor,
    seeds: Iterator[int],
    name: str,
    *,
    filters: int,
    kernel: int,
    strides: int,
    pool: int,
) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(seeds, 2.0, "fan_in"),
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    x = layers.ReLU(name=f"{name}_activation")(x)
    return layers.MaxPooling2D(pool, name=f"{name}_pool")(x)


def _residual_block(x: keras.KerasTensor, seeds: Iterator[int], name: str) -> keras.KerasTensor:
    """Six layers: a separable convolution beside the identity."""
    inputs = x
    x = layers.DepthwiseConv2D(
        3,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(seeds, 2.0, "fan_out"),
        name=f"{name}_dwconv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    x = layers.ReLU(name=f"{name}_activation")(x)
    x = layers.Conv2D(
        _CHANNELS,
        1,
        use_bias=False,
        kernel_initializer=_initializer(seeds, _BRANCH_SCALE, "fan_out"),
        name=f"{name}_project_conv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_project_bn")(x)
    return layers.Add(name=f"{name}_add")([x, inputs])


def _initializer(seeds: Iterator[int], scale: float, mode: str) -> keras.Initializer:
    return keras.initializers.VarianceScaling(scale, mode=mode, seed=next(seeds))


BACKBONE = Backbone(build=build_tiny)
