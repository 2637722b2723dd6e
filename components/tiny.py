"""A backbone for tests: the shapes of the real ones in a thousandth of their work."""

from collections.abc import Iterator
from itertools import count

import keras
from keras import layers

_CHANNELS = 32
_TAIL_BLOCKS = 5


def build_tiny() -> keras.Model:
    """Builds a small residual network, each time with the same random weights.

    Its last 30 layers are five residual blocks on the 7x7 grid.

    Returns:
        float32 [N, 224, 224, 3] in [0, 255] to float32 [N, 7, 7, 32].
    """
    seeds = count()
    image = layers.Input([224, 224, 3])
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    x = _conv(x, seeds, "stem", kernel=8, strides=8)
    x = _conv(x, seeds, "down1", kernel=3, strides=2)
    x = _conv(x, seeds, "down2", kernel=3, strides=2)
    for block in range(1, _TAIL_BLOCKS + 1):
        x = _residual_block(x, seeds, f"block{block}")
    return keras.Model(image, x, name="tiny")


def _conv(
    x: keras.KerasTensor, seeds: Iterator[int], name: str, *, kernel: int, strides: int
) -> keras.KerasTensor:
    x = layers.Conv2D(
        _CHANNELS,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(seeds),
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_activation")(x)


def _residual_block(x: keras.KerasTensor, seeds: Iterator[int], name: str) -> keras.KerasTensor:
    """Six layers: a separable convolution beside the identity."""
    inputs = x
    x = layers.DepthwiseConv2D(
        3,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(seeds),
        name=f"{name}_dwconv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    x = layers.ReLU(name=f"{name}_activation")(x)
    x = layers.Conv2D(
        _CHANNELS,
        1,
        use_bias=False,
        kernel_initializer=_initializer(seeds),
        name=f"{name}_project_conv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_project_bn")(x)
    return layers.Add(name=f"{name}_add")([x, inputs])


def _initializer(seeds: Iterator[int]) -> keras.Initializer:
    return keras.initializers.VarianceScaling(2.0, mode="fan_out", seed=next(seeds))
