"""The image transformation: the one path from encoded bytes to pixels, in TensorFlow ops.

Transform traces `preprocessing_fn` into a graph that training, evaluation and serving all
apply, so a photo has the same pixels everywhere.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from data.contract import features
from data.contract.images import IMAGE_SIDE


def decode_and_fit(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one photo and fits it to the backbone's square.

    Aspect policy: the largest centred square is kept and scaled, as in ImageNet's usual
    evaluation, so that a face is never stretched. Scaling is bilinear with antialiasing,
    so that a large photo and its reduced copy come out alike.

    Args:
        encoded: string scalar, a JPEG, PNG, BMP or GIF (first frame). EXIF is ignored.

    Returns:
        float32 [224, 224, 3], RGB in [0, 255].
    """
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    side = tf.minimum(height, width)
    square = tf.image.crop_to_bounding_box(
        image, (height - side) // 2, (width - side) // 2, side, side
    )
    fitted = tf.image.resize(square, [IMAGE_SIDE, IMAGE_SIDE], antialias=True)
    return tf.ensure_shape(tf.clip_by_value(fitted, 0.0, 255.0), [IMAGE_SIDE, IMAGE_SIDE, 3])


def preprocessing_fn(
    inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """Transforms a batch of records (the user function of TFX's Transform).

    Args:
        inputs: the features of `data.contract.features`, each string [N].
        custom_config: `classes`, the class names in the order of their ids.

    Returns:
        `image_xf` float32 [N, 224, 224, 3] in [0, 255] and `label_xf` int64 [N] in
        [0, classes), -1 for a label that is not a class name.
    """
    images = tf.map_fn(
        decode_and_fit,
        inputs[features.IMAGE],
        fn_output_signature=tf.TensorSpec([IMAGE_SIDE, IMAGE_SIDE, 3], tf.float32),
    )
    # No analyzer: the names are known, and without one Transform need not read the photos.
    named = tf.equal(inputs[features.LABEL][:, tf.newaxis], tf.constant(custom_config["classes"]))
    labels = tf.where(tf.reduce_any(named, axis=1), tf.argmax(named, axis=1), np.int64(-1))
    return {features.IMAGE_XF: images, features.LABEL_XF: labels}
