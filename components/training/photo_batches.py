"""Datasets of the pipeline's Examples, seen through the Transform graph."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from components.training.augmentation import augmented_view
from components.training.augmentation_settings import AugmentationSettings
from data.contract import features

PREFETCH = 4
"""How many batches are made ahead."""

SHUFFLE_BUFFER = 4096
"""Records, still encoded: about 130 MB."""

Share = Callable[[tf.data.Dataset], tf.data.Dataset]
"""From batches to a part of each."""


def whole(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The share of a machine that trains by itself."""
    return batches


def _records(pattern: str | Sequence[str]) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(
        tf.data.Dataset.list_files(pattern, shuffle=False), compression_type="GZIP"
    )


def photo_batches(
    pattern: str | Sequence[str],
    transform: tft.TFTransformOutput,
    *,
    batch_size: int,
    shuffle_seed: int | None = None,
    chosen: NDArray[np.bool_] | None = None,
    share: Share = whole,
) -> tf.data.Dataset:
    """The photos in some files of Examples, batched.

    Args:
        pattern: the files, gzipped TFRecords of tf.train.Example; or several patterns.
        transform: the Transform graph that makes pixels and label ids.
        batch_size: photos per batch.
        shuffle_seed: if given, the photos come in a new order each time through.
        chosen: which of the photos, in the order of the files; None is all.
        share: what is taken of the batches before anything is decoded.

    Returns:
        A dataset of (float32 [N, 224, 224, 3] in [0, 255], class id int64 [N], hexadecimal SHA-256
        string [N]), in a fixed order if they are not shuffled.
    """
    records = _records(pattern)
    if chosen is not None:
        mask = tf.constant(chosen)
        records = records.enumerate().filter(lambda index, _: mask[index]).map(lambda _, each: each)
    if shuffle_seed is not None:
        records = records.shuffle(SHUFFLE_BUFFER, seed=shuffle_seed)
    spec = transform.raw_feature_spec()
    layer = transform.transform_features_layer()

    def to_pixels(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        raw = tf.io.parse_example(serialized, spec)
        transformed = layer(raw)
        return transformed[features.IMAGE_XF], transformed[features.LABEL_XF], raw[features.SHA256]

    batches = share(records.batch(batch_size))
    return batches.map(to_pixels, num_parallel_calls=os.cpu_count())


def labelled_images(
    pattern: str, transform: tft.TFTransformOutput, *, batch_size: int, share: Share = whole
) -> tf.data.Dataset:
    """`photo_batches` as `fit` takes them: (images, class ids), in a fixed order."""
    batches = photo_batches(pattern, transform, batch_size=batch_size, share=share)
    return batches.map(lambda images, labels, _: (images, labels))


def augmented(
    images: tf.Tensor, hashes: tf.Tensor, view: tf.Tensor, settings: AugmentationSettings
) -> tf.Tensor:
    """`augmented_view` for a batch, for use within a dataset.

    Args:
        images: float32 [N, height, width, 3] in [0, 255].
        hashes: string [N], the hexadecimal SHA-256 of each photo.
        view: int64 scalar, the number of the copy.
        settings: which changes, and how large.

    Returns:
        The same shape and range as `images`.
    """

    def augment(
        images: NDArray[np.float32], hashes: NDArray[np.object_], view: np.int64
    ) -> NDArray[np.float32]:
        changed = np.empty_like(images)
        for target, image, sha256 in zip(changed, images, hashes, strict=True):
            target[:] = augmented_view(image, settings, sha256.decode(), int(view))
        return changed

    changed = tf.numpy_function(augment, [images, hashes, view], tf.float32)
    return tf.ensure_shape(changed, images.shape)


def prefetched(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The same batches, made while the ones before are used.

    tf.data must not tune itself: an iterator that does is not gone, and its epoch does not end,
    before the tuner's next period, and the periods double from 10 ms on (TensorFlow 2.21). An epoch
    of 6 seconds would take 10.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(PREFETCH).with_options(options)


def label_counts(pattern: str) -> Counter[str]:
    """Counts the labels of one split without decoding a photo."""
    spec = {features.LABEL: tf.io.FixedLenFeature([], tf.string)}
    counts: Counter[str] = Counter()
    for serialized in _records(pattern).batch(1024):
        labels = tf.io.parse_example(serialized, spec)[features.LABEL]
        counts.update(label.decode() for label in labels.numpy())
    return counts


def balanced_class_weights(counts: Mapping[str, int], classes: Sequence[str]) -> dict[int, float]:
    """Weights that give every class the same say: photos / (classes * photos of the class).

    The same heuristic as scikit-learn's `class_weight="balanced"`.

    Args:
        counts: training photos of each class, at least one each.
        classes: class names in the order of their ids.

    Returns:
        The weight of each class id; all are 1 when the classes are even.
    """
    total = sum(counts[name] for name in classes)
    return {i: total / (len(classes) * counts[name]) for i, name in enumerate(classes)}
