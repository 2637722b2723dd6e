"""A stand-in for a trained model: the signature of ours, answers from a photo's mean colour."""

from pathlib import Path

import tensorflow as tf

LABELS = ("angry", "happy", "relaxed", "sad")


def write_photo_model(version: Path) -> None:
    """Writes it as a version."""
    module = tf.Module()
    module.weights = tf.Variable(tf.random.stateless_normal([3, len(LABELS)], [1, 2]) / 50)

    def mean_colour(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        return tf.reduce_mean(tf.cast(image, tf.float32), axis=[0, 1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        colours = tf.map_fn(mean_colour, image_bytes, fn_output_signature=tf.float32)
        probabilities = tf.nn.softmax(tf.ensure_shape(colours, [None, 3]) @ module.weights)
        labels = tf.constant(LABELS)
        return {
            "probabilities": probabilities,
            "label": tf.gather(labels, tf.argmax(probabilities, axis=1)),
            "labels": tf.tile(labels[tf.newaxis], [tf.shape(probabilities)[0], 1]),
        }

    module.serve = serve
    tf.saved_model.save(module, str(version), signatures={"serving_default": serve})
