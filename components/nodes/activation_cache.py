"""The ActivationCache node: what the frozen layers make of every photo, computed once.

Training needs of a photo only the activations at the freeze boundary, and for the head alone
only the pooled features. Both are computed here for a few augmented views of each training
photo and for the plain photos of the other splits.
"""

import errno
import itertools
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils

from components.errors import ComponentError
from components.model.extractor import Extractor
from components.model.weights import build_backbone, require_same_weights
from components.settings import AugmentationSettings
from components.staging import is_remote
from components.training import activations
from components.training.activations import ActivationManifest
from components.training.photo_batches import augmented, labelled_images, photo_batches, prefetched
from data import features

_STATISTICS_FILE = "FeatureStats.pb"

_BATCH = 16
"""Photos a forward pass."""

_FORWARD_PASSES = 3
"""At the same time."""


class ActivationCacheSpec(ComponentSpec):
    """What goes into the node and comes out of it."""

    INPUTS = {  # noqa: RUF012 (TFX's form)
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS = {  # noqa: RUF012
        "activations": ChannelParameter(type=standard_artifacts.Examples),
    }
    PARAMETERS = {  # noqa: RUF012
        "backbone": ExecutionParameter(type=str),
        "weights": ExecutionParameter(type=str),
        "weights_hash": ExecutionParameter(type=str),
        "boundary": ExecutionParameter(type=str),
        "augmentation": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }


class ActivationCacheExecutor(BaseBeamExecutor):
    """Announces the disk use, fills the files by Beam, and declares them complete."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        (examples,), (statistics,) = input_dict["examples"], input_dict["statistics"]
        transform_graph = artifact_utils.get_single_uri(input_dict["transform_graph"])
        (output,) = output_dict["activations"]
        output.split_names = artifact_utils.encode_split_names(list(features.SPLITS))
        output.span = examples.span
        folder, boundary = output.uri, exec_properties["boundary"]
        augmentation = AugmentationSettings.model_validate_json(exec_properties["augmentation"])

        name, weights = exec_properties["backbone"], exec_properties["weights"]
        require_same_weights(name, weights, exec_properties["weights_hash"])
        backbone, origin = build_backbone(name, weights)
        extractor = Extractor(backbone, boundary)
        found = {split: _read_statistics(statistics, split) for split in features.SPLITS}
        manifest = ActivationManifest(
            backbone=name,
            weights=origin,
            boundary=boundary,
            boundary_shape=extractor.boundary_shape,
            pooled_size=extractor.pooled_size,
            augmentation=augmentation,
            photos={split: sum(counts.values()) for split, counts in found.items()},
            label_counts=found[features.TRAIN],
            deviation=extractor.check(backbone, _first_photos(examples, transform_graph)),
        )
        _announce_disk_use(manifest, folder, weights_bytes=4 * backbone.count_params())

        weights_file = f"{folder}/{activations.WEIGHTS}"
        _save_weights(backbone, weights_file)
        shards = _plan_shards(examples, manifest, folder)
        write = _WriteActivations(
            manifest.backbone, weights_file, boundary, transform_graph, augmentation
        )
        _progress.start(_count_records(manifest))
        _extractors[weights_file] = extractor  # for workers in this process
        try:
            with _causes_raised(), self._make_beam_pipeline() as pipeline:
                _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(write)
        finally:
            del _extractors[weights_file]
        _require_all_written(pipeline.result, manifest.photos)
        activations.write_manifest(folder, manifest)


class ActivationCache(BaseBeamComponent):
    """Examples to activations, through Transform's graph and the frozen layers of a backbone."""

    SPEC_CLASS = ActivationCacheSpec
    EXECUTOR_SPEC = BeamExecutorSpec(ActivationCacheExecutor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        statistics: types.BaseChannel,
        backbone: str,
        weights: str,
        weights_hash: str,
        boundary: str,
        augmentation: str,
        code: str,
    ) -> None:
        """Every argument is part of the key under which TFX caches the activations.

        Args:
            examples: the photos, as ImportExampleGen leaves them.
            transform_graph: what makes pixels and label ids of them.
            statistics: StatisticsGen's of the same examples: how many photos there are.
            backbone: `efficientnet_b0`, `efficientnet_lite0` or `tiny`.
            weights: as `build_backbone` takes them.
            weights_hash: from `weights_fingerprint`.
            boundary: name of the layer whose output is kept, from `boundary_layer_of`.
            augmentation: JSON of AugmentationSettings, its `mode` left out.
            code: hash of the code that runs inside the node.
        """
        super().__init__(
            ActivationCacheSpec(
                examples=examples,
                transform_graph=transform_graph,
                statistics=statistics,
                backbone=backbone,
                weights=weights,
                weights_hash=weights_hash,
                boundary=boundary,
                augmentation=augmentation,
                code=code,
                activations=types.Channel(type=standard_artifacts.Examples),
            )
        )


@dataclass(frozen=True)
class _Shard:
    """A file of Examples, and the files that its activations go to."""

    split: str
    source: str
    targets: tuple[str, ...]
    """One file a view."""


class _WriteActivations(beam.DoFn):
    """Writes the activations of one shard after the other."""

    def __init__(
        self,
        backbone: str,
        weights_file: str,
        boundary: str,
        transform_graph: str,
        augmentation: AugmentationSettings,
    ) -> None:
        self._backbone = backbone
        self._weights_file = weights_file
        self._boundary = boundary
        self._transform_graph = transform_graph
        self._augmentation = augmentation

    def setup(self) -> None:
        self._transform = tft.TFTransformOutput(self._transform_graph)
        if self._weights_file in _extractors:
            self._extract = _extractors[self._weights_file]
        else:
            backbone, _ = build_backbone(self._backbone, self._weights_file)
            self._extract = Extractor(backbone, self._boundary)

    def process(self, shard: _Shard) -> None:
        batches = photo_batches(shard.source, self._transform, batch_size=_BATCH)
        batches = (
            _with_views(batches, self._augmentation)
            if shard.split == features.TRAIN
            else batches.map(_as_they_are)
        )
        with ExitStack() as stack:
            writers = [stack.enter_context(tf.io.TFRecordWriter(file)) for file in shard.targets]
            for boundary, pooled, labels, photos, view in _in_parallel(
                self._to_activations, prefetched(batches)
            ):
                columns = _rounded(boundary), _rounded(pooled), labels.numpy(), photos.numpy()
                records = itertools.starmap(activations.encode_record, zip(*columns, strict=True))
                with _storage_errors_raised():
                    for record in records:
                        writers[view].write(record)
                _progress.add(len(labels))
                if view == 0:
                    Metrics.counter(_WriteActivations, shard.split).inc(len(labels))
            with _storage_errors_raised():
                stack.close()

    def _to_activations(
        self, images: tf.Tensor, labels: tf.Tensor, photos: tf.Tensor, view: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        return *self._extract(images), labels, photos, view


def _in_parallel(
    function: Callable[..., tuple[tf.Tensor, ...]], batches: Iterable[tuple[tf.Tensor, ...]]
) -> Iterator[tuple[tf.Tensor, ...]]:
    """Maps in a few threads and in order: a core that waits in one call works in another.

    tf.data could do it too, but does not optimize the graph of the function.
    """
    with ThreadPoolExecutor(_FORWARD_PASSES) as pool:
        running: deque[Future[tuple[tf.Tensor, ...]]] = deque()
        for batch in batches:
            running.append(pool.submit(function, *batch))
            if len(running) == _FORWARD_PASSES:
                yield running.popleft().result()
        for call in running:
            yield call.result()


def _with_views(batches: tf.data.Dataset, settings: AugmentationSettings) -> tf.data.Dataset:
    """All views of each of the `photo_batches`, one after the other, each with its number."""

    def views(images: tf.Tensor, labels: tf.Tensor, photos: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.range(settings.views).map(
            lambda view: (augmented(images, photos, view, settings), labels, photos, view)
        )

    return batches.flat_map(views)


def _as_they_are(images: tf.Tensor, labels: tf.Tensor, photos: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return images, labels, photos, tf.constant(0, tf.int64)


def _rounded(values: tf.Tensor) -> NDArray[np.float16]:
    return activations.to_float16(values.numpy())


@contextmanager
def _storage_errors_raised() -> Iterator[None]:
    """Makes an OSError of what TensorFlow says of a full disk."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message) from None


class _Progress:
    """Counts finished records and says so at every tenth of the way.

    Beam pickles the functions of a pipeline; a callback would not survive that, a name in a
    module does as long as the workers share this process. Elsewhere nothing is said.
    """

    def __init__(self) -> None:
        self._done = self._total = 0

    def start(self, total: int) -> None:
        self._done, self._total = 0, total

    def add(self, records: int) -> None:
        tenth = 10 * self._done // self._total if self._total else 0
        self._done += records
        if self._total and 10 * self._done // self._total > tenth:
            print(f"  activations {self._done:,} of {self._total:,}", flush=True)


_progress = _Progress()

_extractors: dict[str, Extractor] = {}
"""Of this process, by weights file, so that its workers need not build it again."""


def _read_statistics(statistics: types.Artifact, split: str) -> dict[str, int]:
    """How many photos of each class StatisticsGen found in a split."""
    file = f"{artifact_utils.get_split_uri([statistics], split)}/{_STATISTICS_FILE}"
    (found,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(
        io_utils.read_bytes_file(file)
    ).datasets
    (labels,) = (x for x in found.features if list(x.path.step) == [features.LABEL])
    buckets = labels.string_stats.rank_histogram.buckets
    return {bucket.label: int(bucket.sample_count) for bucket in buckets}


def _first_photos(examples: types.Artifact, transform_graph: str) -> NDArray[np.float32]:
    """A batch of training photos, float32 [N, 224, 224, 3], N at most 16."""
    pattern = f"{artifact_utils.get_split_uri([examples], features.TRAIN)}/*"
    transform = tft.TFTransformOutput(transform_graph)
    images, _ = next(iter(labelled_images(pattern, transform, batch_size=_BATCH)))
    return np.asarray(images)


def _count_records(manifest: ActivationManifest) -> int:
    return sum(
        photos * (manifest.views if split == features.TRAIN else 1)
        for split, photos in manifest.photos.items()
    )


def _announce_disk_use(manifest: ActivationManifest, folder: str, *, weights_bytes: int) -> None:
    """Says how much disk the activations will take.

    Raises:
        ComponentError: a local folder has not got it.
    """
    record = activations.bytes_per_record(manifest.boundary_shape, manifest.pooled_size)
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
        local = Path(folder) / activations.WEIGHTS
        backbone.save_weights(local)
        # A task that a platform starts once more finds the files of the first.
        tf.io.gfile.copy(str(local), file, overwrite=True)


def _plan_shards(
    examples: types.Artifact, manifest: ActivationManifest, folder: str
) -> list[_Shard]:
    shards = []
    for split in features.SPLITS:
        sources = sorted(tf.io.gfile.glob(f"{artifact_utils.get_split_uri([examples], split)}/*"))
        tf.io.gfile.makedirs(f"{folder}/Split-{split}")
        views = range(manifest.views if split == features.TRAIN else 1)
        for index, source in enumerate(sources):
            targets = (
                activations.view_file(folder, split, view, index, len(sources)) for view in views
            )
            shards.append(_Shard(split, source, tuple(targets)))
    return shards


@contextmanager
def _causes_raised() -> Iterator[None]:
    """Raises what a step of Beam raised; Beam raises something else that only quotes it."""
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(
            cause, ComponentError | OSError | KeyboardInterrupt
        ):
            cause = cause.__cause__ or cause.__context__
        raise cause or error from None


def _require_all_written(result: Any, photos: dict[str, int]) -> None:
    """Compares what was written with what StatisticsGen counted.

    Raises:
        ComponentError: they are not the same.
    """
    counters = result.metrics().query(MetricsFilter().with_namespace(_WriteActivations))
    written = {each.key.metric.name: each.result for each in counters["counters"]}
    if written != photos:
        raise ComponentError(
            f"activations of {written} photos were written, the statistics count {photos}: they "
            "are not of the same examples; delete the pipeline's folder and run again"
        )
