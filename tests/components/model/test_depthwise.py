import numpy as np
import pytest
import tensorflow as tf

from components.model.depthwise import depthwise_convolution

CHANNELS = 6


@pytest.mark.parametrize(
    ("height", "width", "size"), [(7, 7, 5), (7, 5, 5), (4, 7, 7), (2, 3, 5), (7, 7, 3), (9, 9, 5)]
)
def test_value_and_gradients_are_those_of_tensorflow(height: int, width: int, size: int) -> None:
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(3, height, width, CHANNELS)).astype(np.float32))
    kernel = tf.constant(rng.normal(size=(size, size, CHANNELS, 1)).astype(np.float32))
    upstream = tf.constant(rng.normal(size=inputs.shape).astype(np.float32))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, height, width, CHANNELS]),
            tf.TensorSpec(kernel.shape),
        ]
    )
    def ours(inputs: tf.Tensor, kernel: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = depthwise_convolution(inputs, kernel)
        return [outputs, *tape.gradient(outputs, [inputs, kernel], upstream)]

    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, [1, 1, 1, 1], "SAME")
    expected = [outputs, *tape.gradient(outputs, [inputs, kernel], upstream)]
    for found, same in zip(ours(inputs, kernel), expected, strict=True):
        np.testing.assert_allclose(found, same, rtol=1e-4, atol=1e-4)
