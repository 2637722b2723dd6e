"""Stand-ins for a trained model: the signatures of ours, answers from a photo's colours."""

from pathlib import Path
from typing import Any

import tensorflow as tf

LABELS = ("angry", "happy", "relaxed", "sad")
SIDE = 7
"""Of the map of evidence: its values are how green the photo is there, less 60."""


def write_photo_model(version: Path) -> None:
    """Writes, as a version, a model that answers and no more."""
    _save(version, explains=False, seed=1)


def write_explaining_model(version: Path, seed: int = 1) -> None:
    """Writes, as a version, a model that also says whether it is certain, sees a dog, and why.

    It is certain of photos that are bright on average, and sees a dog in those that are not blue.
    """
    _save(version, explains=True, seed=seed)


def _save(version: Path, *, explains: bool, seed: int) -> None:
    module = tf.Module()
    module.weights = tf.Variable(tf.random.stateless_normal([3, len(LABELS)], [seed, 2]) / 50)
    labels = tf.constant(LABELS)

    def small(encoded: tf.Tensor) -> tf.Tensor:
        """The centred square of a photo, float32 [7, 7, 3] in [0, 255]."""
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        side = tf.minimum(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = tf.image.crop_to_bounding_box(image, top, left, side, side)
        return tf.image.resize(square, [SIDE, SIDE], method="area")

    def squares(image_bytes: tf.Tensor) -> tf.Tensor:
        found = tf.map_fn(small, image_bytes, fn_output_signature=tf.float32)
        return tf.ensure_shape(found, [None, SIDE, SIDE, 3])

    def answers(squares: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.nn.softmax(tf.reduce_mean(squares, axis=[1, 2]) @ module.weights)
        label = tf.gather(labels, tf.argmax(probabilities, axis=1))
        return {"probabilities": probabilities, "label": label}

    signature = [tf.TensorSpec([None], tf.string, name="image_bytes")]

    @tf.function(input_signature=signature)
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = squares(image_bytes)
        every = {"labels": tf.tile(labels[tf.newaxis], [tf.shape(seen)[0], 1])}
        further: dict[str, Any] = {}
        if explains:
            red, green, blue = tf.unstack(tf.reduce_mean(seen, axis=[1, 2]), axis=1)
            further = {
                "certain": (red + green + blue) / 3 > 100,
                "dog": 1 - tf.maximum(blue - tf.maximum(red, green), 0) / 255,
            }
        return answers(seen) | every | further

    @tf.function(input_signature=signature)
    def explain(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = squares(image_bytes)
        return answers(seen) | {"map": seen[..., 1] - 60}

    module.serve, module.explain = serve, explain
    signatures = {"serving_default": serve}
    if explains:
        signatures["explain"] = explain
    tf.saved_model.save(module, str(version), signatures=signatures)
