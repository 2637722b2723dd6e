"""A depthwise convolution whose gradients take less time than TensorFlow's on a CPU.

The forward pass is TensorFlow's. The gradient with respect to the inputs is one more forward pass,
with the kernel flipped. The gradient with respect to the kernel is made of matrix products, because
TensorFlow's own takes a fifth of a step of the unfrozen layers for kernels larger than 3x3.
"""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

_LARGEST_GRID = 64
"""Positions: the products hold positions x positions x channels numbers, which grow quickly."""


def depthwise_convolution(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves each channel with a kernel of its own, with stride 1 and padding "same".

    Args:
        inputs: float32 or float16 [N, height, width, channels].
        kernel: of the same type, [k, k, channels, 1], k odd.

    Returns:
        The same type and shape as `inputs`.
    """
    height, width = inputs.shape[1:3]
    if kernel.shape[0] <= 3 or height * width > _LARGEST_GRID:
        return _forward(inputs, kernel)
    return _with_fast_gradients(inputs, kernel)


def _forward(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.depthwise_conv2d(inputs, kernel, [1, 1, 1, 1], "SAME")


@tf.custom_gradient
def _with_fast_gradients(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    _, height, width, channels = inputs.shape
    positions = height * width

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        by_inputs = _forward(upstream, tf.reverse(kernel, [0, 1]))
        # For each channel, the product of every input and every output, summed over the batch ...
        before, after = (
            tf.transpose(tf.reshape(x, [-1, positions, channels]), [2, 0, 1])
            for x in (inputs, upstream)
        )
        pairs = tf.matmul(before, after, transpose_a=True)
        # ... and the sum over all pairs at the same distance: one number of the kernel.
        pairs = tf.reshape(pairs, [channels, positions * positions])
        distances = tf.constant(_same_distance(height, width, kernel.shape[0]), pairs.dtype)
        by_kernel = tf.matmul(distances, pairs, transpose_b=True)
        return by_inputs, tf.reshape(by_kernel, kernel.shape)

    return _forward(inputs, kernel), gradients


def _same_distance(height: int, width: int, size: int) -> NDArray[np.float32]:
    """Which pairs of an input and an output each number of the kernel connects.

    Returns:
        float32 [size * size, (height * width) ** 2] of ones and zeros, the input's position first.
    """
    y, x = np.divmod(np.arange(height * width), width)
    rows = y[:, None] - y + size // 2
    columns = x[:, None] - x + size // 2
    within = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    numbers = np.where(within, rows * size + columns, -1).ravel()
    return (numbers == np.arange(size * size)[:, None]).astype(np.float32)
