"""The frozen part of a backbone as one fast function: what the activation cache computes."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.errors import ComponentError
from components.model.folding import fold_batch_normalization
from components.model.freezing import unfreeze_last
from data.contract.images import IMAGE_SIDE

TOLERANCE = 1e-4
"""The largest deviation from Keras, relative to the largest activation.

Folding changes the order of float32's roundings; over fifty convolutions that comes to about
1e-6. A wrong convolution is off by tenths. float16, in which the activations are kept, rounds by
up to 2**-11 = 4.9e-4 of each value, more than what is allowed here.
"""


def activation_shapes(
    backbone: keras.Model, boundary_layer: str
) -> tuple[tuple[int, int, int], int]:
    """Height, width and channels of the boundary layer's output, and how many pooled features.

    Raises:
        ComponentError: the backbone has no such layer.
    """
    height, width, channels = _cut(backbone, boundary_layer).shape[1:]
    return (height, width, channels), backbone.output.shape[-1]


class Extractor:
    """A backbone in inference mode, its BatchNormalization folded and its weights constant."""

    def __init__(self, backbone: keras.Model, boundary_layer: str) -> None:
        """Builds the function; later changes of the backbone's weights do not reach it.

        Args:
            backbone: from `build_backbone`; it is left frozen.
            boundary_layer: name of the layer whose output is kept.

        Raises:
            ComponentError: the backbone has no such layer.
        """
        cut = _cut(backbone, boundary_layer)
        unfreeze_last(backbone, 0)
        self._boundary_layer = boundary_layer
        self._model = fold_batch_normalization(keras.Model(backbone.input, [cut, backbone.output]))

    @tf.function(input_signature=[tf.TensorSpec([None, IMAGE_SIDE, IMAGE_SIDE, 3], tf.float32)])
    def __call__(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Photos to activations.

        Args:
            images: float32 [N, 224, 224, 3] in [0, 255].

        Returns:
            The output of the boundary layer, float32 [N, height, width, channels], and the
            global average of the backbone's output, float32 [N, features].
        """
        return _with_pooling(self._model(images, training=False))

    def check(self, backbone: keras.Model, images: NDArray[np.float32]) -> float:
        """Compares with what Keras computes.

        Args:
            backbone: the backbone, from `build_backbone`.
            images: float32 [N, 224, 224, 3] in [0, 255].

        Returns:
            The largest deviation, relative to the largest activation of the same output.

        Raises:
            ComponentError: it is more than `TOLERANCE`, or not a number.
        """
        cut = _cut(backbone, self._boundary_layer)
        plain = keras.Model(backbone.input, [cut, backbone.output])
        # Traced: called directly, a functional model holds on to the outputs of all its layers.
        traced = tf.function(lambda photos: _with_pooling(plain(photos, training=False)))
        wanted = traced(images)
        pairs = zip(self(images), wanted, strict=True)
        deviation = float(np.max([_deviation(*pair) for pair in pairs]))
        if not deviation <= TOLERANCE:
            raise ComponentError(
                f"the activations of {backbone.name} deviate from Keras' by {deviation:.2g} of the "
                f"largest, more than {TOLERANCE:g}: its weights are not finite, or this machine's "
                "TensorFlow computes them wrongly; try TF_ENABLE_ONEDNN_OPTS=0"
            )
        return deviation


def _cut(backbone: keras.Model, boundary_layer: str) -> keras.KerasTensor:
    """The output of the boundary layer."""
    try:
        return backbone.get_layer(boundary_layer).output
    except ValueError:
        raise ComponentError(
            f"boundary layer {boundary_layer!r} is not a layer of {backbone.name}: take the "
            "name that `boundary_layer_of` gives"
        ) from None


def _with_pooling(outputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    spatial, top = outputs
    return spatial, tf.reduce_mean(top, axis=[1, 2])


def _deviation(found: tf.Tensor, wanted: tf.Tensor) -> float:
    scale = np.maximum(np.abs(wanted).max(), np.finfo(np.float32).tiny)
    return float(np.abs(found - wanted).max() / scale)
