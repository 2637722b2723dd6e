"""Features of photos, and those that an activation cache holds of the training photos."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.model.photo_features import photo_features
from components.report.neighbours import SEARCHED, Batch
from components.staging import readable
from components.training.cache.format import POOLED, WEIGHTS, read_manifest, view_files
from data.contract import features

_BATCH = 1024


def features_as_cached(activations: str, jpegs: Sequence[bytes]) -> NDArray[np.float32]:
    """What the backbone of an activation cache makes of some photos, [N, features].

    Args:
        activations: the folder of the cache, local or remote.
        jpegs: upright, as the records hold them.

    Raises:
        ComponentError: the cache is missing or damaged.
    """
    manifest = read_manifest(activations)
    with readable(f"{activations}/{WEIGHTS}") as weights:
        return photo_features(
            jpegs,
            count=len(jpegs),
            backbone=manifest.backbone,
            weights=str(weights),
            tell=lambda done, total: None,
        )


def training_features(activations: str) -> Iterator[Batch]:
    """The first view of each training photo, of the first `SEARCHED` photos.

    Args:
        activations: the folder of the cache, local or remote.

    Raises:
        ComponentError: the cache is missing or damaged.
    """
    spec = {
        POOLED: tf.io.FixedLenFeature([], tf.string),
        features.LABEL_XF: tf.io.FixedLenFeature([], tf.int64),
        features.SHA256: tf.io.FixedLenFeature([], tf.string),
    }
    size = read_manifest(activations).pooled_size
    records = tf.data.TFRecordDataset(view_files(activations, features.TRAIN, 0))
    for batch in records.take(SEARCHED).batch(_BATCH):
        parsed = tf.io.parse_example(batch, spec)
        pooled = tf.io.decode_raw(parsed[POOLED], tf.float16, little_endian=True)
        yield Batch(
            tf.reshape(pooled, [-1, size]).numpy(),
            parsed[features.LABEL_XF].numpy(),
            [each.decode() for each in parsed[features.SHA256].numpy()],
        )
