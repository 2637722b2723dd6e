"""The SavedModel: signatures that need no Python of ours."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_serving.apis import prediction_log_pb2

from data.contract import features
from data.contract.images import IMAGE_SIDE, MAX_REQUEST_PIXELS
from data.contract.model import (
    BEST_LABEL,
    CLASS_LABELS,
    EVALUATION_SIGNATURE,
    PHOTO_INPUT,
    PROBABILITIES,
    TRANSFORM_SIGNATURE,
)
from data.contract.servable import DEFAULT_SIGNATURE, WARM_UP

WARM_UP_BATCHES = (1, 2)
"""Photos in each of the requests: what TensorFlow prepares anew for a second shape is done, too."""

_PNG_SIZE_END = 24
"""Where the width and height of a PNG end, four bytes each."""


class ServingModule(tf.Module):
    """A Keras 3 classifier and the Transform graph in one exported object.

    `TransformFeaturesLayer` is a Keras 2 layer, which a Keras 3 model cannot hold. The model in
    turn is not tracked, but its variables are: Keras saves a copy of each of a tracked model, and
    TF Serving would restore the copies and find the variables that the graph reads uninitialized.
    """

    def __init__(
        self, model: keras.Model, transform: tft.TFTransformOutput, classes: Sequence[str]
    ) -> None:
        super().__init__()
        self._variables = [variable.value for variable in model.variables]
        self._predict = partial(model, training=False)
        self._layer = transform.transform_features_layer()
        self._spec = transform.raw_feature_spec()
        self._classes = list(classes)

    def _probabilities(self, encoded: tf.Tensor) -> tf.Tensor:
        images = self._layer({features.IMAGE: encoded})[features.IMAGE_XF]
        return self._predict(images)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=PHOTO_INPUT)])
    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Upright photos as JPEG or PNG bytes, string [N], to what a client wants to know.

        Returns:
            `probabilities` float32 [N, classes], `label` string [N], the likeliest class, and
            `labels` string [N, classes], the names in the order of the probabilities.
        """
        checked = tf.map_fn(refuse_bombs, image_bytes)
        probabilities = self._probabilities(checked)
        labels = tf.constant(self._classes)
        return {
            PROBABILITIES: probabilities,
            BEST_LABEL: tf.gather(labels, tf.argmax(probabilities, axis=1)),
            CLASS_LABELS: tf.tile(labels[tf.newaxis], [tf.shape(probabilities)[0], 1]),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.train.Example, string [N], to `probabilities` float32 [N, classes]."""
        spec = {features.IMAGE: self._spec[features.IMAGE]}
        encoded = tf.io.parse_example(examples, spec)[features.IMAGE]
        return {PROBABILITIES: self._probabilities(encoded)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.train.Example, string [N], to `label_xf` int64 [N].

        The pixels are left out: evaluation reads the label alone, and they are 600 KB a photo.
        """
        transformed = self._layer(tf.io.parse_example(examples, self._spec))
        return {features.LABEL_XF: transformed[features.LABEL_XF]}


def refuse_bombs(encoded: tf.Tensor) -> tf.Tensor:
    """Passes on a photo whose header is that of a JPEG or PNG of at most `MAX_REQUEST_PIXELS`.

    A file of a few kilobytes can claim gigabytes of pixels; only the header is read here.

    Args:
        encoded: string scalar.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: when the graph runs: it is of another kind or has more pixels.
    """
    is_jpeg = tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(encoded, 0, 8) == b"\x89PNG\r\n\x1a\n"
    is_png &= tf.strings.length(encoded) >= _PNG_SIZE_END
    known = tf.debugging.Assert(is_jpeg | is_png, ["a photo should be JPEG or PNG"])
    with tf.control_dependencies([known]):
        size = tf.cond(
            is_jpeg,
            lambda: tf.io.extract_jpeg_shape(encoded, output_type=tf.int64)[:2],
            lambda: _png_size(encoded),
        )
    pixels = tf.reduce_prod(
        tf.minimum(size, MAX_REQUEST_PIXELS + 1)
    )  # 32 bits by 32 would overflow
    small = tf.debugging.Assert(
        pixels <= MAX_REQUEST_PIXELS,
        [f"a photo should have at most {MAX_REQUEST_PIXELS} pixels; found", size],
    )
    with tf.control_dependencies([small]):
        return tf.identity(encoded)


def _png_size(encoded: tf.Tensor) -> tf.Tensor:
    """Width and height, int64 [2], from the first chunk, where the format wants them to be."""
    header = tf.io.decode_raw(tf.strings.substr(encoded, _PNG_SIZE_END - 8, 8), tf.uint8)
    digits = tf.reshape(tf.cast(header, tf.int64), [2, 4])  # to the base of 256
    return tf.reduce_sum(digits * [1 << 24, 1 << 16, 1 << 8, 1], axis=1)


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
            DEFAULT_SIGNATURE: module.serving_default,
            EVALUATION_SIGNATURE: module.serving_examples,
            TRANSFORM_SIGNATURE: module.transform_features,
        },
    )
    _write_warm_up(unfinished / WARM_UP)
    unfinished.rename(folder)


def _write_warm_up(file: Path) -> None:
    """Requests of the default signature with grey photos, as records of PredictionLog."""
    photo = tf.io.encode_jpeg(tf.fill([IMAGE_SIDE, IMAGE_SIDE, 3], tf.constant(127, tf.uint8)))
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for photos in WARM_UP_BATCHES:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = DEFAULT_SIGNATURE
            request.inputs[PHOTO_INPUT].CopyFrom(tf.make_tensor_proto([photo.numpy()] * photos))
            writer.write(log.SerializeToString())
