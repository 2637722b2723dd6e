"""Activations of earlier runs, which a photo that is still the same need not be put through again.

A photo's activations follow from the photo and the recipe alone, neither from its label nor from
the photos beside it. What an earlier run has computed by the same recipe is therefore taken over
as it is, bit for bit. Earlier runs are no input of the node: they would be part of its key, which
would then change with every run.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from components.errors import ComponentError
from components.staging import is_remote
from components.training.augmentation_settings import AugmentationSettings
from components.training.cache.format import (
    MANIFEST,
    PHOTO_KEY,
    TFRECORD_FRAME,
    TFRECORD_HEADER,
    CacheManifest,
    read_manifest,
    view_files,
)
from data.contract import features


def recipe_of(
    backbone: keras.Model, boundary_layer: str, augmentation: AugmentationSettings, *, code: str
) -> str:
    """Stands for all that a photo's activations follow from, apart from the photo: hexadecimal.

    Args:
        backbone: from `build_backbone`, with its weights: random ones may differ from run to run.
        boundary_layer: name of the layer whose output is kept.
        augmentation: of the training photos; its `mode` does not matter.
        code: hash of the code that makes activations of a record, Transform's function included.
    """
    digest = hashlib.sha256()
    settings = augmentation.model_dump_json(exclude={"mode"})
    for text in (backbone.name, boundary_layer, settings, code):
        digest.update(f"{text}\0".encode())
    for weights in backbone.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()


class Place(NamedTuple):
    """Where a record lies."""

    file: str
    start: int
    """Of its content, in bytes from the file's beginning."""
    size: int

    def read(self) -> bytes:
        """The record."""
        with Path(self.file).open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)


@dataclass(frozen=True)
class Earlier:
    """Where the activations of an earlier run lie."""

    places: dict[tuple[bool, int, bytes], Place]
    """By whether the photo is augmented, the view and the `photo_key`."""

    def find(self, split: str, views: int, key: bytes) -> list[Place]:
        """The records of a photo, one for each view; none unless all of them are there."""
        found = [self.places.get((split == features.TRAIN, view, key)) for view in range(views)]
        return [place for place in found if place] if all(found) else []


def find_earlier(folder: str, recipe: str) -> Earlier:
    """The newest whole activations of the same recipe that lie beside a folder.

    All of them are read, as each record has a checksum. Where one is damaged, that is said, and
    the folder is left alone.

    Args:
        folder: of the activations to be made. Beside a remote one, nothing is looked for.
        recipe: from `recipe_of`.
    """
    if is_remote(folder):
        return Earlier({})
    for other in _finished_beside(Path(folder)):
        if not _is_made_by(recipe, other):
            continue
        try:
            return Earlier(dict(_places(other)))
        except (ComponentError, tf.errors.OpError):
            print(f"  activations: {other} is damaged, nothing is reused from it", flush=True)
    return Earlier({})


def _finished_beside(folder: Path) -> Iterator[str]:
    """The other folders with a manifest, the newest first."""
    manifests = sorted(folder.parent.glob(f"*/{MANIFEST}"), key=_time, reverse=True)
    return (str(file.parent) for file in manifests if file.parent != folder)


def _time(file: Path) -> float:
    return file.stat().st_mtime


def _is_made_by(recipe: str, folder: str) -> bool:
    try:
        return read_manifest(folder).recipe == recipe
    except ComponentError:  # As of another version of this code.
        return False


def _places(folder: str) -> Iterator[tuple[tuple[bool, int, bytes], Place]]:
    """Where each record of a folder lies.

    Raises:
        ComponentError, tf.errors.OpError: a file is missing, cannot be read or is damaged.
    """
    manifest: CacheManifest = read_manifest(folder)
    for split in manifest.photos:
        augmented = split == features.TRAIN
        for view in range(manifest.views if augmented else 1):
            for file in view_files(folder, split, view):
                start = TFRECORD_HEADER
                for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
                    example = tf.train.Example.FromString(record)
                    (key,) = example.features.feature[PHOTO_KEY].bytes_list.value
                    yield (augmented, view, key), Place(file, start, len(record))
                    start += len(record) + TFRECORD_FRAME
