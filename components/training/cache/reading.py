"""Reading the activation cache: its files as the datasets that training takes."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.training.cache.format import (
    CacheManifest,
    Feature,
    read_manifest,
    view_files,
)
from components.training.photo_batches import prefetched
from data.contract import features

SHUFFLE_BUFFER = 4096
"""Records: 90 MB at 7x7x192."""


def training_batches(
    folder: str,
    feature: Feature,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
    with_val: bool = False,
    targets: NDArray[np.float32] | None = None,
) -> tf.data.Dataset:
    """The training photos, epoch after epoch, endlessly.

    Epoch e holds each photo once, as its view e % views, in a new order, in
    ceil(photos / batch_size) batches, the last of which may be shorter; the next epoch begins
    with the next batch. Give that number to `fit` as `steps_per_epoch`.

    Args:
        folder: complete activations.
        feature: `spatial` or `pooled`.
        batch_size: photos per batch.
        seed: makes the orders repeatable.
        first_epoch: the epoch to begin with; not 0 after a kill.
        with_val: whether the photos of `val` are learnt from as well, as they are.
        targets: what is learnt in place of the labels, float32 [views, photos, classes], in the
            order of `recorded_batches`.

    Returns:
        A dataset of (float32 [N, *manifest.shape(feature)], int64 [N]), or of the targets,
        float32 [N, classes], in place of the class ids.

    Raises:
        ComponentError: the folder is not complete.
    """
    manifest = read_manifest(folder)
    train = tf.constant(
        [view_files(folder, features.TRAIN, view) for view in range(manifest.views)]
    )
    val = view_files(folder, features.VAL, 0)
    photos = [manifest.photos[split] for split in (features.TRAIN, features.VAL)]
    shares = [count / sum(photos) for count in photos]

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # For this function alone: if the process's seed is 0, TensorFlow does not take an
        # operation's seed from a tensor.
        tf.random.set_seed(1)
        view = number % manifest.views
        parts = [tf.data.TFRecordDataset(train[view])]
        if with_val:
            parts.append(tf.data.TFRecordDataset(val))
        if targets is not None:
            told = tf.data.Dataset.from_tensor_slices(tf.constant(targets)[view])
            starts = (0, photos[0])
            parts = [
                tf.data.Dataset.zip(part, told.skip(start))
                for part, start in zip(parts, starts, strict=False)
            ]
        records = parts[0]
        if with_val:  # among the others: there may be more of those than the buffer holds
            records = tf.data.Dataset.sample_from_datasets(parts, shares, seed=seed + number)
        return records.shuffle(SHUFFLE_BUFFER, seed=seed + number).batch(batch_size)

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    batches = epochs.flat_map(epoch)
    if targets is None:
        return _parsed(batches, manifest, feature)
    parse = _parser(manifest, feature)
    return prefetched(batches.map(lambda serialized, told: (parse(serialized)[0], told)))


def recorded_batches(
    folder: str, feature: Feature, *, view: int, batch_size: int
) -> tf.data.Dataset:
    """One view of the training photos, and behind them those of `val` as they are, in their order.

    Args:
        folder: complete activations.
        feature: `spatial` or `pooled`.
        view: its number.
        batch_size: photos per batch.

    Returns:
        A dataset of (float32 [N, *manifest.shape(feature)], int64 [N]).

    Raises:
        ComponentError: the folder is not complete.
    """
    files = [*view_files(folder, features.TRAIN, view), *view_files(folder, features.VAL, 0)]
    records = tf.data.TFRecordDataset(files)
    return _parsed(records.batch(batch_size), read_manifest(folder), feature)


def validation_batches(folder: str, feature: Feature, *, batch_size: int) -> tf.data.Dataset:
    """The photos of `val` as they are, once and in a fixed order.

    Args:
        folder: complete activations.
        feature: `spatial` or `pooled`.
        batch_size: photos per batch.

    Returns:
        A dataset of (float32 [N, *manifest.shape(feature)], int64 [N]).

    Raises:
        ComponentError: the folder is not complete.
    """
    manifest = read_manifest(folder)
    records = tf.data.TFRecordDataset(view_files(folder, features.VAL, 0))
    return _parsed(records.batch(batch_size), manifest, feature)


def _parsed(batches: tf.data.Dataset, manifest: CacheManifest, feature: Feature) -> tf.data.Dataset:
    return prefetched(batches.map(_parser(manifest, feature)))


def _parser(
    manifest: CacheManifest, feature: Feature
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Serialized records to the feature and the class ids."""
    spec = {
        feature: tf.io.FixedLenFeature([], tf.string),
        features.LABEL_XF: tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(serialized, spec)
        values = tf.io.decode_raw(parsed[feature], tf.float16, little_endian=True)
        values = tf.reshape(values, [-1, *manifest.shape(feature)])
        return tf.cast(values, tf.float32), parsed[features.LABEL_XF]

    return parse
