"""Filling the activation cache: what the frozen layers make of every photo, written by Beam.

What an earlier run has computed is taken over.
"""

import errno
import itertools
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

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
from components.model.weights import build_backbone, save_weights
from components.staging import is_remote
from components.training.augmentation_settings import AugmentationSettings
from components.training.cache.format import (
    WEIGHTS,
    CacheManifest,
    bytes_per_record,
    encode_record,
    photo_key,
    to_float16,
    view_file,
    with_label,
    write_manifest,
)
from components.training.cache.reuse import Earlier, find_earlier
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
    artifact: str,
    sources: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    transform_graph: str,
    backbone: keras.Model,
    new_pipeline: Callable[[], beam.Pipeline],
) -> None:
    """Writes the activations of all photos, and declares the folder complete.

    Args:
        folder: where to write, local or remote (`gs://…`).
        manifest: what the folder is to hold.
        artifact: the folder that it is, or is in; earlier ones lie beside this one.
        sources: the gzipped TFRecords of tf.train.Example of each split.
        classes: class names in the order of their ids.
        transform_graph: the folder of Transform's graph.
        backbone: with the weights that are kept beside the activations.
        new_pipeline: makes the Beam pipeline that does the work.

    Raises:
        ComponentError: the disk is too small, the activations deviate from Keras', a value does
            not fit float16, or the photos are not those that the manifest counts.
        OSError: a file cannot be written.
    """
    tf.io.gfile.makedirs(folder)
    _announce_disk_use(manifest, folder, weights_bytes=4 * backbone.count_params())
    weights_file = f"{folder}/{WEIGHTS}"
    save_weights(backbone, weights_file)
    shards = _plan_shards(sources, manifest, folder)
    _counter.start(_count_records(manifest), tenths("  activations"))
    _frozen_layers[weights_file] = _FrozenLayers(lambda: backbone, manifest.boundary_layer)
    try:
        with (
            find_earlier(artifact, manifest.recipe) as earlier,
            step_errors_raised(),
            new_pipeline() as pipeline,
        ):
            write = _WriteActivations(manifest, classes, weights_file, transform_graph, earlier)
            _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(write)
    finally:
        del _frozen_layers[weights_file]
    written = _counted(pipeline.result, _WriteActivations)
    _require_all_written(written, manifest.photos)
    reused = sum(_counted(pipeline.result, Earlier).values())
    computed = sum(written.values()) - reused
    print(f"  activations: {reused:,} photos reused, {computed:,} computed", flush=True)
    write_manifest(folder, manifest)


@dataclass(frozen=True)
class _Shard:
    """A file of Examples, and the files that its activations go to."""

    split: str
    source: str
    targets: tuple[str, ...]
    """One file per view."""


class _Photo(NamedTuple):
    """What is known of a photo without decoding it."""

    label: int
    sha256: bytes
    key: bytes


View = tuple[NDArray[np.float16], NDArray[np.float16]]
"""The boundary layer's output and the pooled features of one view of one photo."""


class _FrozenLayers:
    """The frozen layers in one process: built, and compared with Keras, when a photo needs them."""

    def __init__(self, backbone: Callable[[], keras.Model], boundary_layer: str) -> None:
        self._backbone, self._boundary_layer = backbone, boundary_layer
        self._building = Lock()
        self._extractor: Extractor | None = None

    def __call__(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `Extractor` does it."""
        with self._building:
            if self._extractor is None:
                backbone = self._backbone()
                extractor = Extractor(backbone, self._boundary_layer)
                extractor.check(backbone, images.numpy())
                self._extractor = extractor
        activations: tuple[tf.Tensor, tf.Tensor] = self._extractor(images)
        return activations


class _WriteActivations(beam.DoFn):
    """Writes the activations of one shard after the other."""

    def __init__(
        self,
        manifest: CacheManifest,
        classes: Sequence[str],
        weights_file: str,
        transform_graph: str,
        earlier: Earlier,
    ) -> None:
        self._manifest = manifest
        self._ids = {name.encode(): index for index, name in enumerate(classes)}
        self._weights_file = weights_file
        self._transform_graph = transform_graph
        self._earlier = earlier

    def setup(self) -> None:
        self._transform = tft.TFTransformOutput(self._transform_graph)
        self._activations = _frozen_layers.get(self._weights_file) or _FrozenLayers(
            self._load_backbone, self._manifest.boundary_layer
        )
        self._kept = self._earlier.open()

    def process(self, shard: _Shard) -> None:
        photos = [_describe(record, self._ids) for record in _records(shard.source)]
        kept = self._kept.find(shard.split, [photo.key for photo in photos])
        missing = np.array([not places for places in kept], bool)
        with ExitStack() as stack:
            writers = [stack.enter_context(tf.io.TFRecordWriter(file)) for file in shard.targets]
            computed = stack.enter_context(closing(self._compute(shard, missing)))
            for photo, places in zip(photos, kept, strict=True):
                if places:
                    records = [with_label(place.read(), photo.label) for place in places]
                    Metrics.counter(Earlier, shard.split).inc()
                else:
                    records = [
                        encode_record(*view, photo.label, photo.sha256, photo.key)
                        for view in next(computed)
                    ]
                with _storage_errors_raised():
                    for writer, record in zip(writers, records, strict=True):
                        writer.write(record)
                _counter.add(len(records))
                Metrics.counter(_WriteActivations, shard.split).inc()
            with _storage_errors_raised():
                stack.close()

    def _compute(
        self, shard: _Shard, missing: NDArray[np.bool_]
    ) -> Generator[tuple[View, ...], None, None]:
        """All views of one photo after the other, of those that are missing."""
        if not missing.any():
            return
        photos = photo_batches(shard.source, self._transform, batch_size=BATCH, chosen=missing)
        if shard.split == features.TRAIN:
            batches = _with_views(photos, self._manifest.augmentation)
        else:
            batches = photos.map(lambda images, *_: images)
        made = in_parallel(self._activations, ((images,) for images in prefetched(batches)))
        while views := [
            tuple(to_float16(values.numpy()) for values in batch)
            for batch in itertools.islice(made, len(shard.targets))
        ]:
            yield from zip(*(zip(*view, strict=True) for view in views), strict=True)

    def _load_backbone(self) -> keras.Model:
        backbone, _ = build_backbone(self._manifest.backbone, self._weights_file)
        return backbone


def _records(source: str) -> Iterator[bytes]:
    records = tf.data.TFRecordDataset(source, compression_type="GZIP")
    return iter(records.as_numpy_iterator())


def _describe(record: bytes, ids: Mapping[bytes, int]) -> _Photo:
    """What is known of the photo in a record, given the id of each label."""
    feature = tf.train.Example.FromString(record).features.feature
    label, sha256, image = (
        feature[name].bytes_list.value[0]
        for name in (features.LABEL, features.SHA256, features.IMAGE)
    )
    return _Photo(ids[label], sha256, photo_key(sha256, image))


def _with_views(batches: tf.data.Dataset, settings: AugmentationSettings) -> tf.data.Dataset:
    """All views of each of the `photo_batches`, one after the other."""

    def views(images: tf.Tensor, _: tf.Tensor, hashes: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(settings.views).map(
            lambda view: augmented(images, hashes, view, settings)
        )

    return batches.flat_map(views)


@contextmanager
def _storage_errors_raised() -> Iterator[None]:
    """Turns TensorFlow's error for a full disk into an OSError."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message) from None


_counter = StepCounter()

_frozen_layers: dict[str, _FrozenLayers] = {}
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


def _counted(result: Any, namespace: type) -> dict[str, int]:
    """The photos that were counted in a namespace of Beam's metrics, by split."""
    counters = result.metrics().query(MetricsFilter().with_namespace(namespace))["counters"]
    return {each.key.metric.name: each.result for each in counters}


def _require_all_written(written: dict[str, int], photos: dict[str, int]) -> None:
    """Compares what was written with what StatisticsGen counted.

    Raises:
        ComponentError: they are not the same.
    """
    if written != photos:
        raise ComponentError(
            f"activations of {written} photos were written, but the statistics count {photos}: "
            "they are not of the same examples; delete the pipeline's folder and run again"
        )
