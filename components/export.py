"""The SavedModel: signatures that need no Python of ours."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
import tensorflow_transform as tft

from data import features

EVALUATION_SIGNATURE = "serving_examples"
TRANSFORM_SIGNATURE = "transform_features"


class ServingModule(tf.Module):
    """A Keras 3 classifier and the Transform graph, tracked by one exported object.

    `TransformFeaturesLayer` is a Keras 2 layer, which a Keras 3 model cannot hold.
    """

    def __init__(
        self, model: keras.Model, transform: tft.TFTransformOutput, classes: Sequence[str]
    ) -> None:
        super().__init__()
        self._model = model
        self._layer = transform.transform_features_layer()
        self._spec = transform.raw_feature_spec()
        self._classes = list(classes)

    def _probabilities(self, encoded: tf.Tensor) -> tf.Tensor:
        images = self._layer({features.IMAGE: encoded})[features.IMAGE_XF]
        return self._model(images, training=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=features.PHOTO_INPUT)])
    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Upright photos as JPEG or PNG bytes, string [N], to what a client wants to know.

        Returns:
            `probabilities` float32 [N, classes], `label` string [N], the likeliest class, and
            `labels` string [N, classes], the names in the order of the probabilities.
        """
        probabilities = self._probabilities(image_bytes)
        labels = tf.constant(self._classes)
        return {
            features.PROBABILITIES: probabilities,
            features.BEST_LABEL: tf.gather(labels, tf.argmax(probabilities, axis=1)),
            features.CLASS_LABELS: tf.tile(labels[tf.newaxis], [tf.shape(probabilities)[0], 1]),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.train.Example, string [N], to `probabilities` float32 [N, classes]."""
        spec = {features.IMAGE: self._spec[features.IMAGE]}
        encoded = tf.io.parse_example(examples, spec)[features.IMAGE]
        return {features.PROBABILITIES: self._probabilities(encoded)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.train.Example, string [N], to `label_xf` int64 [N].

        The pixels are left out: evaluation reads the label alone, and they are 600 KB a photo.
        """
        transformed = self._layer(tf.io.parse_example(examples, self._spec))
        return {features.LABEL_XF: transformed[features.LABEL_XF]}


def export(
    model: keras.Model,
    transform: tft.TFTransformOutput,
    classes: Sequence[str],
    folder: Path,
) -> None:
    """Writes the SavedModel, complete or not at all.

    Args:
        model: float32 [N, 224, 224, 3] in [0, 255] to probabilities float32 [N, classes].
        transform: the Transform graph the model was trained behind.
        classes: class names in the order of the probabilities.
        folder: where to; must not exist.
    """
    module = ServingModule(model, transform, classes)
    unfinished = folder.with_name(folder.name + ".tmp")
    tf.saved_model.save(
        module,
        str(unfinished),
        signatures={
            features.SERVING_SIGNATURE: module.serving_default,
            EVALUATION_SIGNATURE: module.serving_examples,
            TRANSFORM_SIGNATURE: module.transform_features,
        },
    )
    unfinished.rename(folder)
