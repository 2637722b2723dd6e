"""Filling the activation cache: what the frozen layers make of every photo, written by Beam."""

import errno
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from apache_beam.metrics import Metrics, MetricsFilter
from numpy.typing import NDArray

from components.errors import ComponentError
from components.model.extractor import Extractor
from components.model.parallel import in_parallel
from components.model.weights import build_backbone
from components.staging import is_remote
from components.training.augmentation_settings import AugmentationSettings
from components.training.cache.format import (
    WEIGHTS,
    CacheManifest,
    bytes_per_record,
    encode_record,
    to_float16,
    view_file,
    write_manifest,
)
from components.training.photo_batches import augmented, photo_batches, prefetched
from data.contract import features
from data.contract.beam import StepCounter, step_errors_raised
from data.contract.progress import tenths

BATCH = 16
"""Photos per forward pass."""


def fill(
    folder: str,
    manifest: CacheManifest,
    *,
    sources: Mapping[str, Sequence[str]],
    transform_graph: str,
    backbone: keras.Model,
    extractor: Extractor,
    new_pipeline: Callable[[], beam.Pipeline],
) -> None:
    """Writes the activations of all photos, and declares the folder complete.

    Args:
        folder: where to write, local or remote (`gs://…`).
        manifest: what the folder is to hold.
        sources: the gzipped TFRecords of tf.train.Example of each split.
        transform_graph: the folder of Transform's graph.
        backbone: with the weights that are kept beside the activations.
        extractor: of this backbone, for workers in this process.
        new_pipeline: makes the Beam pipeline that does the work.

    Raises:
        ComponentError: the disk is too small, a value does not fit float16, or the photos are not
            those that the manifest counts.
        OSError: a file cannot be written.
    """
    _announce_disk_use(manifest, folder, weights_bytes=4 * backbone.count_params())
    weights_file = f"{folder}/{WEIGHTS}"
    _save_weights(backbone, weights_file)
    shards = _plan_shards(sources, manifest, folder)
    write = _WriteActivations(manifest, weights_file, transform_graph)
    _counter.start(_count_records(manifest), tenths("  activations"))
    _extractors[weights_file] = extractor
    try:
        with step_errors_raised(), new_pipeline() as pipeline:
            _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(write)
    finally:
        del _extractors[weights_file]
    _require_all_written(pipeline.result, manifest.photos)
    write_manifest(folder, manifest)


@dataclass(frozen=True)
class _Shard:
    """A file of Examples, and the files that its activations go to."""

    split: str
    source: str
    targets: tuple[str, ...]
    """One file per view."""


class _WriteActivations(beam.DoFn):
    """Writes the activations of one shard after the other."""

    def __init__(self, manifest: CacheManifest, weights_file: str, transform_graph: str) -> None:
        self._manifest = manifest
        self._weights_file = weights_file
        self._transform_graph = transform_graph

    def setup(self) -> None:
        self._transform = tft.TFTransformOutput(self._transform_graph)
        if self._weights_file in _extractors:
            self._extract = _extractors[self._weights_file]
        else:
            backbone, _ = build_backbone(self._manifest.backbone, self._weights_file)
            self._extract = Extractor(backbone, self._manifest.boundary_layer)

    def process(self, shard: _Shard) -> None:
        batches = photo_batches(shard.source, self._transform, batch_size=BATCH)
        batches = (
            _with_views(batches, self._manifest.augmentation)
            if shard.split == features.TRAIN
            else batches.map(_as_they_are)
        )
        with ExitStack() as stack:
            writers = [stack.enter_context(tf.io.TFRecordWriter(file)) for file in shard.targets]
            for spatial, pooled, labels, hashes, view in in_parallel(
                self._to_activations, prefetched(batches)
            ):
                columns = _rounded(spatial), _rounded(pooled), labels.numpy(), hashes.numpy()
                records = itertools.starmap(encode_record, zip(*columns, strict=True))
                with _storage_errors_raised():
                    for record in records:
                        writers[view].write(record)
                _counter.add(len(labels))
                if view == 0:
                    Metrics.counter(_WriteActivations, shard.split).inc(len(labels))
            with _storage_errors_raised():
                stack.close()

    def _to_activations(
        self, images: tf.Tensor, labels: tf.Tensor, hashes: tf.Tensor, view: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        return *self._extract(images), labels, hashes, view


def _with_views(batches: tf.data.Dataset, settings: AugmentationSettings) -> tf.data.Dataset:
    """All views of each of the `photo_batches`, one after the other, each with its number."""

    def views(images: tf.Tensor, labels: tf.Tensor, hashes: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(settings.views).map(
            lambda view: (augmented(images, hashes, view, settings), labels, hashes, view)
        )

    return batches.flat_map(views)


def _as_they_are(images: tf.Tensor, labels: tf.Tensor, hashes: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return images, labels, hashes, tf.constant(0, tf.int64)


def _rounded(values: tf.Tensor) -> NDArray[np.float16]:
    return to_float16(values.numpy())


@contextmanager
def _storage_errors_raised() -> Iterator[None]:
    """Turns TensorFlow's error for a full disk into an OSError."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message) from None


_counter = StepCounter()

_extractors: dict[str, Extractor] = {}
"""This process's, by weights file, so that its workers need not build them again."""


def _count_records(manifest: CacheManifest) -> int:
    return sum(
        photos * (manifest.views if split == features.TRAIN else 1)
        for split, photos in manifest.photos.items()
    )


def _announce_disk_use(manifest: CacheManifest, folder: str, *, weights_bytes: int) -> None:
    """Prints how much disk space the activations will take.

    Raises:
        ComponentError: a local folder has too little space.
    """
    record = bytes_per_record(manifest.spatial_shape, manifest.pooled_size)
    needed = _count_records(manifest) * record + weights_bytes
    train = manifest.photos[features.TRAIN]
    others = sum(manifest.photos.values()) - train
    line = f"  activations: {train:,} photos x {manifest.views} views + {others:,}: {_gb(needed)}"
    if is_remote(folder):
        print(line, flush=True)
        return
    free = shutil.disk_usage(folder).free
    print(f"{line}, {_gb(free)} free at {folder}", flush=True)
    if needed > free:
        raise ComponentError(
            f"the activations need {_gb(needed)}, {folder} has {_gb(free)} free: make room, name "
            "another --workdir, or set fewer training.augmentation.views"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"


def _save_weights(backbone: keras.Model, file: str) -> None:
    """Saves to a local or remote file."""
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / WEIGHTS
        backbone.save_weights(local)
        # A task that a platform restarts finds the files of its first attempt.
        tf.io.gfile.copy(str(local), file, overwrite=True)


def _plan_shards(
    sources: Mapping[str, Sequence[str]], manifest: CacheManifest, folder: str
) -> list[_Shard]:
    shards = []
    for split, files in sources.items():
        tf.io.gfile.makedirs(f"{folder}/Split-{split}")
        views = range(manifest.views if split == features.TRAIN else 1)
        for index, source in enumerate(files):
            targets = (view_file(folder, split, view, index, len(files)) for view in views)
            shards.append(_Shard(split, source, tuple(targets)))
    return shards


def _require_all_written(result: Any, photos: dict[str, int]) -> None:
    """Compares what was written with what StatisticsGen counted.

    Raises:
        ComponentError: they are not the same.
    """
    counters = result.metrics().query(MetricsFilter().with_namespace(_WriteActivations))
    written = {each.key.metric.name: each.result for each in counters["counters"]}
    if written != photos:
        raise ComponentError(
            f"activations of {written} photos were written, but the statistics count {photos}: "
            "they are not of the same examples; delete the pipeline's folder and run again"
        )
