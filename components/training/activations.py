"""The activation cache's files: how activations are kept on disk, and how training reads them.

    activations.json                                      what they are; written last
    backbone.weights.h5                                   the weights they were made with
    Split-train/view-KK-NNNNN-of-NNNNN.tfrecord           one record a photo, augmented
    Split-val/view-00-…, Split-test/view-00-…             one record a photo, as it is

A record is a tf.train.Example of `boundary` and `pooled` (float16, little endian, C order),
`label_xf` and `image/sha256`. float16 halves the disk and rounds each value by at most 2**-11
of itself.
"""

import re
from typing import Literal, get_args

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from pydantic import ValidationError

from components.errors import ComponentError
from components.model.backbone import WeightsOrigin
from components.settings import AugmentationSettings, Section
from components.training.photo_batches import prefetched
from data import features

MANIFEST = "activations.json"
WEIGHTS = "backbone.weights.h5"

Feature = Literal["boundary", "pooled"]
BOUNDARY, POOLED = get_args(Feature)

SHUFFLE_BUFFER = 4096
"""Records: 90 MB at 7x7x192."""

_TFRECORD_FRAME = 16
"""Bytes a TFRecord adds: length and two checksums, https://www.tensorflow.org/tutorials/load_data/tfrecord."""


class ActivationManifest(Section):
    """What a folder of activations holds, and what it was made from."""

    backbone: str
    weights: WeightsOrigin
    boundary: str
    """Name of the layer whose output is kept."""
    boundary_shape: tuple[int, int, int]
    pooled_size: int
    augmentation: AugmentationSettings
    """Of the training photos; its `mode` is not kept."""
    photos: dict[str, int]
    """Of each split."""
    label_counts: dict[str, int]
    """Training photos of each class."""
    deviation: float
    """From the activations as Keras computes them, relative to the largest."""

    @property
    def views(self) -> int:
        """How many augmented copies there are of each training photo."""
        return self.augmentation.views

    def shape(self, feature: Feature) -> tuple[int, ...]:
        """The shape of a feature of one photo."""
        return self.boundary_shape if feature == BOUNDARY else (self.pooled_size,)


def write_manifest(folder: str, manifest: ActivationManifest) -> None:
    """Declares a folder complete."""
    unfinished = f"{folder}/.{MANIFEST}.tmp"
    with tf.io.gfile.GFile(unfinished, "w") as file:
        file.write(manifest.model_dump_json(indent=2, exclude={"augmentation": {"mode"}}))
    tf.io.gfile.rename(unfinished, f"{folder}/{MANIFEST}", overwrite=True)


def read_manifest(folder: str) -> ActivationManifest:
    """What a complete folder holds.

    Args:
        folder: local or remote (`gs://…`).

    Raises:
        ComponentError: the manifest is missing, damaged or of another version of this code.
    """
    file = f"{folder}/{MANIFEST}"
    try:
        with tf.io.gfile.GFile(file) as stream:
            return ActivationManifest.model_validate_json(stream.read())
    except (tf.errors.NotFoundError, UnicodeDecodeError, ValidationError) as error:
        raise _damaged(file, folder) from error


def view_file(folder: str, split: str, view: int, shard: int, shards: int) -> str:
    """Where one view of one shard of a split's photos is kept."""
    return f"{folder}/Split-{split}/view-{view:02d}-{shard:05d}-of-{shards:05d}.tfrecord"


def to_float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Rounds to float16, little endian.

    Raises:
        ComponentError: a value is too large for float16, or no number.
    """
    with np.errstate(over="ignore"):
        rounded = values.astype("<f2")
    if not np.isfinite(rounded).all():
        raise ComponentError(
            f"activations of up to {np.abs(values).max():g} do not fit float16, which ends at "
            "65504: take other weights, or set training.augmentation.mode=on_the_fly"
        )
    return rounded


def encode_record(
    boundary: NDArray[np.float16], pooled: NDArray[np.float16], label: int, photo: bytes
) -> bytes:
    """One photo and view as a serialized tf.train.Example.

    Args:
        boundary: [height, width, channels], from `to_float16`.
        pooled: [features], from `to_float16`.
        label: the class id.
        photo: hexadecimal SHA-256.
    """
    values = {BOUNDARY: boundary.tobytes(), POOLED: pooled.tobytes(), features.SHA256: photo}
    feature = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in values.items()
    }
    feature[features.LABEL_XF] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString(deterministic=True))


def bytes_per_record(boundary_shape: tuple[int, int, int], pooled_size: int) -> int:
    """What one record takes on disk."""
    boundary, pooled = np.zeros(boundary_shape, "<f2"), np.zeros(pooled_size, "<f2")
    return len(encode_record(boundary, pooled, 0, bytes(64))) + _TFRECORD_FRAME


def training_batches(
    folder: str, feature: Feature, *, batch_size: int, seed: int, first_epoch: int
) -> tf.data.Dataset:
    """The training photos, epoch after epoch without end.

    Epoch e holds each photo once, as its view e % views, in a new order, in
    ceil(photos / batch_size) batches of which the last may be shorter; the next epoch begins
    with the next batch. Give that number to `fit` as `steps_per_epoch`.

    Args:
        folder: complete activations.
        feature: `boundary` or `pooled`.
        batch_size: photos a batch.
        seed: makes the orders repeatable.
        first_epoch: the epoch to begin with, as after a kill.

    Returns:
        A dataset of (float32 [N, *manifest.shape(feature)], int64 [N]).

    Raises:
        ComponentError: the folder is not complete.
    """
    manifest = read_manifest(folder)
    files = tf.constant(
        [_view_files(folder, features.TRAIN, view) for view in range(manifest.views)]
    )

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # Of this function alone: the process's may be 0, with which TensorFlow does not take the
        # seed of an operation from a tensor.
        tf.random.set_seed(1)
        records = tf.data.TFRecordDataset(files[number % manifest.views])
        return records.shuffle(SHUFFLE_BUFFER, seed=seed + number).batch(batch_size)

    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    return _parsed(epochs.flat_map(epoch), manifest, feature)


def evaluation_batches(
    folder: str, split: str, feature: Feature, *, batch_size: int
) -> tf.data.Dataset:
    """The photos of `val` or `test` as they are, once and in a fixed order.

    Args:
        folder: complete activations.
        split: `val` or `test`.
        feature: `boundary` or `pooled`.
        batch_size: photos a batch.

    Returns:
        A dataset of (float32 [N, *manifest.shape(feature)], int64 [N]).

    Raises:
        ComponentError: the folder is not complete.
    """
    manifest = read_manifest(folder)
    records = tf.data.TFRecordDataset(_view_files(folder, split, 0))
    return _parsed(records.batch(batch_size), manifest, feature)


def _parsed(
    batches: tf.data.Dataset, manifest: ActivationManifest, feature: Feature
) -> tf.data.Dataset:
    spec = {
        feature: tf.io.FixedLenFeature([], tf.string),
        features.LABEL_XF: tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parsed = tf.io.parse_example(serialized, spec)
        values = tf.io.decode_raw(parsed[feature], tf.float16, little_endian=True)
        values = tf.reshape(values, [-1, *manifest.shape(feature)])
        return tf.cast(values, tf.float32), parsed[features.LABEL_XF]

    return prefetched(batches.map(parse))


def _view_files(folder: str, split: str, view: int) -> list[str]:
    """The files of one view, all of them."""
    pattern = view_file(folder, split, view, 0, 0).replace("-00000-of-00000", "-*-of-*")
    files: list[str] = sorted(tf.io.gfile.glob(pattern))
    totals = [int(re.findall(r"\d+", file)[-1]) for file in files]
    if not files or totals != [len(files)] * len(files):
        raise _damaged(pattern, folder)
    return files


def _damaged(file: str, folder: str) -> ComponentError:
    return ComponentError(f"{file} is missing or damaged: delete {folder} and run again")
