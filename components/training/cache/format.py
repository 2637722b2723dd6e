"""The activation cache's files: what is in them and what they are called.

    activations.json                                      what they are; written last
    backbone.weights.h5                                   the weights they were made with
    Split-train/view-KK-NNNNN-of-NNNNN.tfrecord           one record per photo, augmented
    Split-val/view-00-NNNNN-of-NNNNN.tfrecord             one record per photo, as it is

Where there are several backbones, each has a folder of this kind, named after it.

A record is a tf.train.Example of `spatial` and `pooled` (float16, little endian, C order),
`label_xf`, `image/sha256` and `photo_key`. float16 halves the disk and rounds each value by at most
2**-11 of itself.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from components.errors import ComponentError
from components.model.backbone import WeightsOrigin
from components.training.augmentation_settings import AugmentationSettings
from data.contract import features

MANIFEST = "activations.json"
WEIGHTS = "backbone.weights.h5"

Feature = Literal["spatial", "pooled"]
SPATIAL, POOLED = get_args(Feature)

PHOTO_KEY = "photo_key"
"""What `photo_key` gives."""

TFRECORD_HEADER = 12
TFRECORD_FRAME = 16
"""Bytes that a TFRecord has before its content (a length and its checksum), and in all (a further
checksum), https://www.tensorflow.org/tutorials/load_data/tfrecord."""


class CacheManifest(BaseModel):
    """What a folder of activations holds, and what it was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    backbone: str
    weights: WeightsOrigin
    boundary_layer: str
    """Name of the layer whose output is kept."""
    spatial_shape: tuple[int, int, int]
    pooled_size: int
    augmentation: AugmentationSettings
    """That of the training photos; its `mode` is not kept."""
    photos: dict[str, int]
    """How many there are in each split."""
    label_counts: dict[str, int]
    """Training photos of each class."""
    recipe: str
    """Stands for all that a photo's activations follow from, apart from the photo."""

    @property
    def views(self) -> int:
        """How many augmented copies there are of each training photo."""
        return self.augmentation.views

    def shape(self, feature: Feature) -> tuple[int, ...]:
        """The shape of a feature of one photo."""
        return self.spatial_shape if feature == SPATIAL else (self.pooled_size,)


def folder_of(artifact: str, backbone: str, backbones: Sequence[str]) -> str:
    """The folder of one backbone's activations.

    Args:
        artifact: ActivationCache's folder.
        backbone: whose.
        backbones: all of whose activations are there.
    """
    return artifact if len(backbones) == 1 else f"{artifact}/{backbone}"


def write_manifest(folder: str, manifest: CacheManifest) -> None:
    """Declares a folder complete."""
    unfinished = f"{folder}/.{MANIFEST}.tmp"
    with tf.io.gfile.GFile(unfinished, "w") as file:
        file.write(manifest.model_dump_json(indent=2, exclude={"augmentation": {"mode"}}))
    tf.io.gfile.rename(unfinished, f"{folder}/{MANIFEST}", overwrite=True)


def read_manifest(folder: str) -> CacheManifest:
    """What a complete folder holds.

    Args:
        folder: local or remote (`gs://…`).

    Raises:
        ComponentError: the manifest is missing, damaged or from another version of this code.
    """
    file = f"{folder}/{MANIFEST}"
    try:
        with tf.io.gfile.GFile(file) as stream:
            return CacheManifest.model_validate_json(stream.read())
    except (tf.errors.NotFoundError, UnicodeDecodeError, ValidationError) as error:
        raise damaged(file, folder) from error


def view_file(folder: str, split: str, view: int, shard: int, shards: int) -> str:
    """Where one view of one shard of a split's photos is kept."""
    return f"{folder}/Split-{split}/view-{view:02d}-{shard:05d}-of-{shards:05d}.tfrecord"


def view_files(folder: str, split: str, view: int) -> list[str]:
    """The files of one view, all of them.

    Raises:
        ComponentError: one is missing.
    """
    pattern = view_file(folder, split, view, 0, 0).replace("-00000-of-00000", "-*-of-*")
    files: list[str] = sorted(tf.io.gfile.glob(pattern))
    totals = [int(re.findall(r"\d+", file)[-1]) for file in files]
    if not files or totals != [len(files)] * len(files):
        raise damaged(pattern, folder)
    return files


def photo_key(sha256: bytes, image: bytes) -> bytes:
    """Stands for all of a photo that its activations follow from.

    Args:
        sha256: of the photo's file, hexadecimal: its augmentation follows from it.
        image: the encoded image in its record: how it is prepared may change, its file need not.
    """
    return hashlib.sha256(sha256 + image).digest()


def to_float16(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Rounds to float16, little endian.

    Raises:
        ComponentError: a value is too large for float16, or not a number.
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
    spatial: NDArray[np.float16],
    pooled: NDArray[np.float16],
    label: int,
    sha256: bytes,
    key: bytes,
) -> bytes:
    """One photo and view as a serialized tf.train.Example.

    Args:
        spatial: the boundary layer's output, [height, width, channels], from `to_float16`.
        pooled: [features], from `to_float16`.
        label: the class id.
        sha256: of the photo's file, hexadecimal.
        key: from `photo_key`.
    """
    values = {
        SPATIAL: spatial.tobytes(),
        POOLED: pooled.tobytes(),
        features.SHA256: sha256,
        PHOTO_KEY: key,
    }
    feature = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for key, value in values.items()
    }
    feature[features.LABEL_XF] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(example.SerializeToString(deterministic=True))


def with_label(record: bytes, label: int) -> bytes:
    """What `encode_record` would have given with another class id."""
    example = tf.train.Example.FromString(record)
    example.features.feature[features.LABEL_XF].int64_list.value[:] = [label]
    return bytes(example.SerializeToString(deterministic=True))


def bytes_per_record(spatial_shape: tuple[int, int, int], pooled_size: int) -> int:
    """What one record takes on disk."""
    spatial, pooled = np.zeros(spatial_shape, "<f2"), np.zeros(pooled_size, "<f2")
    return len(encode_record(spatial, pooled, 0, bytes(64), bytes(32))) + TFRECORD_FRAME


def damaged(file: str, folder: str) -> ComponentError:
    """The error for a cache file that cannot be relied on."""
    return ComponentError(f"{file} is missing or damaged: delete {folder} and run again")
