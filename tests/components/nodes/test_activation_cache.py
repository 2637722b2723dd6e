import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import standard_artifacts

from components.errors import ComponentError
from components.model.extractor import TOLERANCE
from components.model.weights import build_backbone
from components.staging import readable
from components.training.augmentation import augmented_view
from components.training.augmentation_settings import AugmentationSettings
from components.training.cache import writing
from components.training.cache.format import MANIFEST, WEIGHTS, read_manifest
from components.training.photo_batches import labelled_images
from data.contract import features
from data.contract.features import TRAIN, VAL
from data.ingest import IngestResult
from pipeline.config import Config

Array = np.ndarray[Any, Any]
Run = Callable[..., Path]


@pytest.fixture(scope="module")
def inputs(examples: Any, transform_graph: Any, statistics: Any) -> dict[str, Any]:
    return {"examples": examples, "transform_graph": transform_graph, "statistics": statistics}


@pytest.fixture
def output(tmp_path: Path) -> Any:
    """Where the node writes, to be looked at even if it fails."""
    return new_output(tmp_path / "output")


def new_output(node_folder: Path) -> Any:
    """An artifact with nothing beside it that the node could reuse."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(node_folder / "1")
    Path(artifact.uri).mkdir(parents=True)
    return artifact


@pytest.fixture
def run(run_node: Any, config: Config, inputs: dict[str, Any], tmp_path_factory: Any) -> Run:
    """Runs the node with other weights, views or inputs; returns the folder that it fills."""

    def run_cache(
        *,
        weights: str = "random",
        views: int = 2,
        output: Any | None = None,
        **other_inputs: Any,
    ) -> Path:
        model = config.model.model_copy(update={"weights": weights})
        augmentation = AugmentationSettings(mode="cached", views=views)
        training = config.training.model_copy(update={"augmentation": augmentation})
        outputs = run_node(
            "ActivationCache",
            {**inputs, **other_inputs},
            config=config.model_copy(update={"model": model, "training": training}),
            outputs={"activations": output or new_output(tmp_path_factory.mktemp("made"))},
        )
        return Path(outputs["activations"].uri)

    return run_cache


def read(folder: Path, split: str, view: int = 0) -> dict[str, Array]:
    """All records of one view, each feature as one array, in the order of the files."""
    files = sorted(str(file) for file in folder.glob(f"Split-{split}/view-{view:02d}-*"))
    examples = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for record in tf.data.TFRecordDataset(files)
    ]
    spatial, pooled, photos = (
        [example[name].bytes_list.value[0] for example in examples]
        for name in ("spatial", "pooled", "image/sha256")
    )
    return {
        "spatial": np.frombuffer(b"".join(spatial), "<f2").reshape(-1, 7, 7, 64),
        "pooled": np.frombuffer(b"".join(pooled), "<f2").reshape(-1, 64),
        "labels": np.array([example["label_xf"].int64_list.value[0] for example in examples]),
        "photos": np.array([photo.decode() for photo in photos]),
    }


def sha256(record: bytes) -> str:
    feature = tf.train.Example.FromString(record).features.feature[features.SHA256]
    return str(feature.bytes_list.value[0].decode())


def assert_close(found: Array, wanted: Array) -> None:
    """Within float16's rounding, and the deviation from Keras that folding may cause."""
    bound = 2.0**-11 * np.abs(wanted) + TOLERANCE * np.abs(wanted).max()
    assert (np.abs(found.astype(np.float32) - wanted) <= bound).all()


def by_keras(images: Array) -> dict[str, Array]:
    """What Keras computes for the same photos."""
    backbone, _ = build_backbone("tiny", "random")
    cut = backbone.get_layer("stem3_pool").output
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    spatial, pooled = keras.Model(backbone.input, [cut, pooled]).predict(images, verbose=0)
    return {"spatial": spatial, "pooled": pooled}


@pytest.fixture(scope="module")
def images(transform: Any, split_files: dict[str, str]) -> dict[str, Array]:
    """The pixels of each split, in the order of the records."""
    return {
        split: np.concatenate(
            [images for images, _ in labelled_images(pattern, transform, batch_size=32)]
        )
        for split, pattern in split_files.items()
    }


@pytest.fixture(scope="module")
def folder(activations: Any) -> Path:
    return Path(activations.uri)


def test_the_artifact_holds_all_that_training_looks_at_and_no_test_photo(
    activations: Any, folder: Path, ingested: IngestResult
) -> None:
    assert activations.splits == [TRAIN, VAL]
    assert activations.span == 0
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == {
        MANIFEST,
        WEIGHTS,
        *(f"Split-train/view-0{view}-00000-of-00001.tfrecord" for view in range(2)),
        "Split-val/view-00-00000-of-00001.tfrecord",
    }
    manifest = read_manifest(str(folder))
    assert (manifest.backbone, manifest.boundary_layer) == ("tiny", "stem3_pool")
    assert (manifest.weights.source, manifest.weights.sha256) == ("random", "none")
    assert (manifest.spatial_shape, manifest.pooled_size) == ((7, 7, 64), 64)
    assert manifest.augmentation == AugmentationSettings(views=2)
    assert manifest.photos == {
        split: sum(ingested.counts[split].values()) for split in (TRAIN, VAL)
    }
    assert manifest.label_counts == ingested.counts[TRAIN]


@pytest.mark.parametrize("split", [TRAIN, VAL])
def test_every_photo_is_there_with_its_label(
    folder: Path, split: str, records: dict[str, list[bytes]], transform: Any, split_files: Any
) -> None:
    batches = labelled_images(split_files[split], transform, batch_size=32)
    labels = np.concatenate([labels for _, labels in batches])
    for view in range(2 if split == TRAIN else 1):
        found = read(folder, split, view)
        assert found["photos"].tolist() == [sha256(record) for record in records[split]]
        np.testing.assert_array_equal(found["labels"], labels)


def test_validation_photos_are_as_keras_sees_them(folder: Path, images: dict[str, Array]) -> None:
    found, wanted = read(folder, VAL), by_keras(images[VAL])
    for name in ("spatial", "pooled"):
        assert_close(found[name], wanted[name])


@pytest.mark.parametrize("view", [0, 1])
def test_training_photos_are_as_keras_sees_their_views(
    folder: Path, view: int, images: dict[str, Array]
) -> None:
    found = read(folder, TRAIN, view)
    views = [
        augmented_view(image, AugmentationSettings(), photo, view)
        for image, photo in zip(images[TRAIN], found["photos"], strict=True)
    ]
    wanted = by_keras(np.stack(views))
    for name in ("spatial", "pooled"):
        assert_close(found[name], wanted[name])


def test_the_views_of_a_photo_differ(folder: Path) -> None:
    first, second = (read(folder, TRAIN, view)["pooled"] for view in range(2))
    deviation = np.abs(first - second).max(axis=1)
    assert (deviation > 0).all()


def test_the_weights_are_kept(folder: Path) -> None:
    kept, _ = build_backbone("tiny", str(folder / WEIGHTS))
    made, _ = build_backbone("tiny", "random")
    for found, wanted in zip(kept.get_weights(), made.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_view_is_the_same_however_many_there_are(folder: Path, run: Run) -> None:
    other = run(views=3)
    for view in range(2):
        name = f"Split-train/view-{view:02d}-00000-of-00001.tfrecord"
        assert (other / name).read_bytes() == (folder / name).read_bytes()
    assert read(other, TRAIN, 2)["photos"].tolist() == read(folder, TRAIN)["photos"].tolist()


def test_a_worker_elsewhere_writes_the_same(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows nothing of what this process has built, only what Beam has pickled."""
    built = []

    class Elsewhere(dict[str, Any]):
        def get(self, weights_file: str, default: Any = None) -> None:
            built.append(weights_file)
            return None

    monkeypatch.setattr(writing, "_frozen_layers", Elsewhere())
    again = run()
    assert built
    for file in folder.glob("Split-*/*"):
        assert (again / file.relative_to(folder)).read_bytes() == file.read_bytes()


def test_remote_artifacts_give_the_same(
    folder: Path, inputs: dict[str, Any], to_remote: Any, run_node: Any, config: Config
) -> None:
    remote = {name: to_remote(artifact) for name, artifact in inputs.items()}
    uri = run_node("ActivationCache", remote, config=config, remote=True)["activations"].uri
    assert uri.startswith("ram://")
    assert read_manifest(uri) == read_manifest(str(folder))
    with readable(uri) as copy:
        for file in folder.rglob("*.tfrecord"):
            assert (copy / file.relative_to(folder)).read_bytes() == file.read_bytes()
    kept, _ = build_backbone("tiny", f"{uri}/{WEIGHTS}")
    made, _ = build_backbone("tiny", "random")
    np.testing.assert_array_equal(kept.get_weights()[0], made.get_weights()[0])


def test_a_task_that_is_started_again_overwrites_what_the_first_wrote(
    folder: Path, run: Run, output: Any
) -> None:
    (Path(output.uri) / WEIGHTS).touch()
    again = run(output=output)
    assert again == Path(output.uri)
    assert (again / WEIGHTS).stat().st_size == (folder / WEIGHTS).stat().st_size
    assert read_manifest(str(again)) == read_manifest(str(folder))


def test_the_disk_use_is_announced_and_the_progress_told(
    run: Run, capsys: pytest.CaptureFixture[str], ingested: IngestResult
) -> None:
    folder = run()
    photos = {split: sum(counts.values()) for split, counts in ingested.counts.items()}
    others = photos[VAL]
    announced, *told, reused = capsys.readouterr().out.splitlines()
    assert announced.startswith(f"  activations: {photos[TRAIN]} photos x 2 views + {others}: 0.00")
    assert announced.endswith(f" GB free at {folder}")
    total = 2 * photos[TRAIN] + others
    assert told[-1] == f"  activations {total} of {total}"
    assert len(told) <= 10
    assert reused == f"  activations: 0 photos reused, {photos[TRAIN] + others} computed"


def test_the_announced_disk_use_is_what_is_taken(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = []

    def recorded(size: int) -> str:
        needed.append(size)
        return f"{size} bytes"

    monkeypatch.setattr(writing, "_gb", recorded)
    folder = run()
    taken = sum(file.stat().st_size for file in folder.rglob("*.tfrecord"))
    weights = (folder / WEIGHTS).stat().st_size
    assert taken < needed[0] < taken + weights
    assert needed[0] - taken > 0.5 * weights


def test_a_disk_that_is_too_small_is_refused_at_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def disk_usage(folder: str) -> Any:
        asked.append(Path(folder))
        return shutil._ntuple_diskusage(10**9, 10**9 - 10**5, 10**5)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with pytest.raises(
        ComponentError, match=r"the activations need .+ GB, .+ has 0\.00 GB free: make room, name"
    ):
        run()
    assert "  activations: " in capsys.readouterr().out
    assert list(asked[0].iterdir()) == []


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a disk filling up looks like to a program, apart from the error's number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_midway_leaves_nothing_that_looks_complete(
    run: Run, folder: Path, output: Any
) -> None:
    (whole,) = folder.glob("Split-train/view-01-*")
    size = whole.stat().st_size - 1
    assert size > (folder / WEIGHTS).stat().st_size
    with no_file_larger_than(size), pytest.raises(OSError, match=r"view-0\d-.+; File too large"):
        run(output=output)
    assert (Path(output.uri) / WEIGHTS).exists()
    with pytest.raises(ComponentError, match="is missing or damaged"):
        read_manifest(output.uri)


def test_an_interrupt_comes_through(run: Run, output: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "encode_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(output=output)
    assert not (Path(output.uri) / MANIFEST).exists()


def test_activations_that_float16_cannot_hold_stop_the_node(
    run: Run, tmp_path: Path, output: Any
) -> None:
    backbone, _ = build_backbone("tiny", "random")
    backbone.get_layer("stem3_bn").gamma.assign(np.full(64, 1e6))
    backbone.save_weights(tmp_path / "large.weights.h5")
    with pytest.raises(ComponentError, match=r"activations of up to .+ do not fit float16"):
        run(weights=str(tmp_path / "large.weights.h5"), output=output)
    assert not (Path(output.uri) / MANIFEST).exists()


def test_weights_that_changed_since_the_run_began_stop_the_node(run: Run, tmp_path: Path) -> None:
    backbone, _ = build_backbone("tiny", "random")
    file = tmp_path / "own.weights.h5"
    backbone.save_weights(file)
    manifest = read_manifest(str(run(weights=str(file))))
    assert manifest.weights.source == str(file)
    backbone.get_layer("stem3_bn").gamma.assign(np.full(64, 2))
    backbone.save_weights(file)
    with pytest.raises(
        ComponentError,
        match=rf"own.weights.h5' changed since the run began, from {manifest.weights.sha256} to ",
    ):
        run(weights=str(file))


def test_statistics_of_other_examples_stop_the_node(
    run: Run, statistics: Any, new_artifact: Any, output: Any
) -> None:
    other = new_artifact(type(statistics))
    shutil.copytree(statistics.uri, other.uri, dirs_exist_ok=True)
    other.split_names = statistics.split_names
    file = Path(other.uri) / f"Split-{VAL}" / "FeatureStats.pb"
    counted = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
    (labels,) = (
        each for each in counted.datasets[0].features if each.path.step == [features.LABEL]
    )
    labels.string_stats.rank_histogram.buckets[0].sample_count += 1
    file.write_bytes(counted.SerializeToString())
    with pytest.raises(ComponentError, match=r"the statistics count .+: they are not of the same"):
        run(statistics=other, output=output)
    assert not (Path(output.uri) / MANIFEST).exists()


def peak_memory() -> int:
    """The most bytes this process has had in memory since `clear_peak_memory`."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)


def clear_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_twenty_times_the_photos_take_no_more_memory(
    run: Run, inputs: dict[str, Any], new_artifact: Any
) -> None:
    def repeated(times: int) -> dict[str, Any]:
        """The inputs, with each photo that many times."""
        copies = {name: new_artifact(type(inputs[name])) for name in ("examples", "statistics")}
        for name, copy in copies.items():
            shutil.copytree(inputs[name].uri, copy.uri, dirs_exist_ok=True)
            copy.split_names = inputs[name].split_names
        for file in Path(copies["examples"].uri).glob("*/*.gz"):
            file.write_bytes(file.read_bytes() * times)  # gzip files can be laid end to end
        for file in Path(copies["statistics"].uri).glob("*/*.pb"):
            found = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
            for feature in found.datasets[0].features:
                for bucket in feature.string_stats.rank_histogram.buckets:
                    bucket.sample_count *= times
            file.write_bytes(found.SerializeToString())
        return copies

    def peak(times: int) -> int:
        copies = repeated(times)
        clear_peak_memory()
        run(**copies)
        return peak_memory()

    peak(1)  # TensorFlow's own memory grows with its first use
    few, many = peak(5), peak(100)
    # The 8,700 more are 200 MB as JPEG and 5 GB as pixels; the allocator takes steps of 64 MB.
    assert many - few < 150e6
