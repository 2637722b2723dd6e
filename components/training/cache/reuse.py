"""Activations of earlier runs, which a photo that is still the same need not be put through again.

A photo's activations follow from the photo and the recipe alone, neither from its label nor from
the photos beside it. What an earlier run has computed by the same recipe is therefore taken over
as it is, bit for bit. Earlier runs are no input of the node: they would be part of its key, which
would then change with every run.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.errors import ComponentError
from components.staging import is_remote
from components.training.augmentation_settings import AugmentationSettings
from components.training.cache.format import (
    MANIFEST,
    PHOTO_KEY,
    TFRECORD_FRAME,
    TFRECORD_HEADER,
    CacheManifest,
    damaged,
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


_KEYS, _PLACES = "keys.npy", "places.npy"
_KEY = np.dtype("S33")
"""Whether the photo is augmented, and its `photo_key`."""
_PLACE = np.dtype([("shard", "<u4"), ("start", "<u8"), ("size", "<u4")])


@dataclass(frozen=True)
class Earlier:
    """The activations of an earlier run, small enough to be sent to every worker.

    Where each photo's records lie is in a file, so that it takes neither memory nor time to send.
    """

    index: str
    """The folder of that file; empty if there are no activations."""
    shards: tuple[tuple[str, ...], ...]
    """The files, one for each view, of every shard."""

    def open(self) -> "EarlierRecords":
        """The records, to be looked for."""
        if not self.index:
            return EarlierRecords(np.zeros(0, _KEY), np.zeros(0, _PLACE), ())
        keys = np.load(f"{self.index}/{_KEYS}", mmap_mode="r")
        return EarlierRecords(keys, np.load(f"{self.index}/{_PLACES}", mmap_mode="r"), self.shards)


NOTHING_EARLIER = Earlier("", ())


@dataclass(frozen=True)
class EarlierRecords:
    """Where each photo's records lie."""

    keys: NDArray[np.bytes_]
    """In order, [photos]."""
    places: NDArray[np.void]
    """Of the same photos, in a shard; the views of a photo lie at the same place."""
    shards: tuple[tuple[str, ...], ...]

    def find(self, split: str, keys: Sequence[bytes]) -> list[list[Place]]:
        """The records of some photos, one for each view; none for a photo that is not there.

        Args:
            split: of the photos; those of `train` are augmented.
            keys: from `photo_key`.
        """
        wanted = np.array([_as_key(split, key) for key in keys], _KEY)
        return [
            self._places(row) if row < len(self.keys) and self.keys[row] == key else []
            for row, key in zip(np.searchsorted(self.keys, wanted), wanted, strict=True)
        ]

    def _places(self, row: int) -> list[Place]:
        shard, start, size = self.places[row].item()
        return [Place(file, start, size) for file in self.shards[shard]]


@contextmanager
def find_earlier(folder: str, recipe: str) -> Iterator[Earlier]:
    """The newest whole activations of the same recipe that lie beside a folder, one of several
    backbones included, for as long as the block takes.

    All of them are read, as each record has a checksum. Where one is damaged, that is said, and
    the folder is left alone.

    Args:
        folder: the artifact to be made. Beside a remote one, nothing is looked for.
        recipe: from `recipe_of`.

    Raises:
        OSError: the folder cannot be written.
    """
    if is_remote(folder):
        yield NOTHING_EARLIER
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".earlier-") as index:
        yield _newest_beside(Path(folder), recipe, index)


def _newest_beside(folder: Path, recipe: str, index: str) -> Earlier:
    for other in _finished_beside(folder):
        if not _is_made_by(recipe, other):
            continue
        try:
            return _indexed(other, index)
        except (ComponentError, tf.errors.OpError):
            print(f"  activations: {other} is damaged, nothing is reused from it", flush=True)
    return NOTHING_EARLIER


def _finished_beside(folder: Path) -> Iterator[str]:
    """The other folders with a manifest, the newest first."""
    found = (file for depth in ("*", "*/*") for file in folder.parent.glob(f"{depth}/{MANIFEST}"))
    others = (file for file in found if folder not in file.parents)
    return (str(file.parent) for file in sorted(others, key=_time, reverse=True))


def _time(file: Path) -> float:
    return file.stat().st_mtime


def _is_made_by(recipe: str, folder: str) -> bool:
    try:
        return read_manifest(folder).recipe == recipe
    except ComponentError:  # As of another version of this code.
        return False


def _indexed(folder: str, index: str) -> Earlier:
    """Writes where the records of a folder lie.

    Raises:
        ComponentError, tf.errors.OpError: a file is missing, cannot be read or is damaged.
        OSError: the index cannot be written.
    """
    manifest: CacheManifest = read_manifest(folder)
    shards: list[tuple[str, ...]] = []
    keys, places = [np.zeros(0, _KEY)], [np.zeros(0, _PLACE)]
    for split in manifest.photos:
        views = range(manifest.views if split == features.TRAIN else 1)
        for files in zip(*(view_files(folder, split, view) for view in views), strict=True):
            found = list(_records(files[0]))
            if any(list(_records(file)) != found for file in files[1:]):
                raise damaged(files[0], folder)
            keys.append(np.array([_as_key(split, key) for key, _, _ in found], _KEY))
            rows = [(len(shards), start, size) for _, start, size in found]
            places.append(np.array(rows, _PLACE))
            shards.append(files)
    order = np.argsort(np.concatenate(keys), kind="stable")
    np.save(f"{index}/{_KEYS}", np.concatenate(keys)[order])
    np.save(f"{index}/{_PLACES}", np.concatenate(places)[order])
    return Earlier(index, tuple(shards))


def _records(file: str) -> Iterator[tuple[bytes, int, int]]:
    """The `photo_key` of each record of a file, and where its content begins and how long it is."""
    start = TFRECORD_HEADER
    for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
        example = tf.train.Example.FromString(record)
        (key,) = example.features.feature[PHOTO_KEY].bytes_list.value
        yield key, start, len(record)
        start += len(record) + TFRECORD_FRAME


def _as_key(split: str, key: bytes) -> bytes:
    return (b"a" if split == features.TRAIN else b"p") + key
