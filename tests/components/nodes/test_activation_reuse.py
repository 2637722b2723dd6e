"""ActivationCache beside the activations of earlier runs: faster, and otherwise the same."""

import pickle
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.model.weights import build_backbone
from components.training.augmentation_settings import AugmentationSettings
from components.training.cache import writing
from components.training.cache.format import MANIFEST, read_manifest
from components.training.cache.reuse import find_earlier
from data.contract import features
from data.contract.features import TRAIN, VAL
from pipeline import pipeline
from pipeline.config import Config

Photos = dict[str, list[bytes]]
"""The records of each split."""
Run = Callable[..., Path]
Reused = Callable[[], tuple[int, int]]


@pytest.fixture(scope="module")
def photos(records: Photos) -> Photos:
    return {TRAIN: records[TRAIN][:12], VAL: records[VAL][:6]}


@pytest.fixture
def node_folder(tmp_path: Path) -> Path:
    """Where the artifacts of the node's runs lie beside each other."""
    return tmp_path / "activations"


@pytest.fixture(scope="module")
def run_in(run_node: Any, config: Config, transform_graph: Any, new_artifact: Any) -> Run:
    """Runs the node on some photos; returns the folder that it fills."""

    def run_cache(
        node_folder: Path,
        photos: Mapping[str, list[bytes]],
        *,
        backbone: str | tuple[str, ...] = "tiny",
        weights: str = "random",
        code: str = "",
        **augmentation: Any,
    ) -> Path:
        """`code` stands for the hash of the node's code after an edit."""
        model = config.model.model_copy(update={"backbone": backbone, "weights": weights})
        settings = AugmentationSettings(mode="cached", **augmentation)
        training = config.training.model_copy(update={"augmentation": settings})
        output = standard_artifacts.Examples()
        folder = node_folder / str(len(list(node_folder.glob("*"))) + 1)
        folder.mkdir(parents=True)
        output.uri = str(folder)
        with pytest.MonkeyPatch.context() as patches:
            if code:
                patches.setattr(pipeline, "code_hash", lambda *_: code)
            run_node(
                "ActivationCache",
                {
                    "examples": as_examples(photos, new_artifact(standard_artifacts.Examples)),
                    "statistics": as_statistics(
                        photos, new_artifact(standard_artifacts.ExampleStatistics)
                    ),
                    "transform_graph": transform_graph,
                },
                config=config.model_copy(update={"model": model, "training": training}),
                serving_root=code or "unused",
                outputs={"activations": output},
            )
        return folder

    return run_cache


@pytest.fixture(scope="module")
def made(run_in: Run, photos: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the node makes of the photos with nothing beside it."""
    return run_in(tmp_path_factory.mktemp("made"), photos)


@pytest.fixture
def first(made: Path, node_folder: Path) -> Path:
    """The same where the artifacts of the node lie."""
    return Path(shutil.copytree(made, node_folder / "1"))


@pytest.fixture
def run(run_in: Run, node_folder: Path, photos: Photos) -> Run:
    """Runs the node beside what it has made before."""

    def run_beside(photos: Mapping[str, list[bytes]] = photos, **settings: Any) -> Path:
        return run_in(node_folder, photos, **settings)

    return run_beside


@pytest.fixture
def alone(run_in: Run, tmp_path: Path) -> Run:
    """Runs the node with nothing beside it."""
    return partial(run_in, tmp_path / "alone")


@pytest.fixture
def reused(capsys: pytest.CaptureFixture[str]) -> Reused:
    """How many photos the last run of the node says to have reused and computed."""

    def last() -> tuple[int, int]:
        line = capsys.readouterr().out.splitlines()[-1]
        found = re.fullmatch(r"  activations: (\d+) photos reused, (\d+) computed", line)
        assert found
        return int(found[1]), int(found[2])

    return last


def as_examples(photos: Mapping[str, list[bytes]], artifact: Any) -> Any:
    artifact.split_names = artifact_utils.encode_split_names(list(photos))
    for split, records in photos.items():
        folder = Path(artifact_utils.get_split_uri([artifact], split))
        folder.mkdir()
        for shard in range(2):
            file = folder / f"{split}-{shard:05d}-of-00002.tfrecord.gz"
            with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
                for record in records[shard::2]:
                    writer.write(record)
    return artifact


def as_statistics(photos: Mapping[str, list[bytes]], artifact: Any) -> Any:
    """What StatisticsGen would count, as far as the node asks for it."""
    artifact.split_names = artifact_utils.encode_split_names(list(photos))
    for split, records in photos.items():
        found = statistics_pb2.DatasetFeatureStatisticsList()
        labels = found.datasets.add().features.add()
        labels.path.step.append(features.LABEL)
        counts = Counter(value(record, features.LABEL) for record in records)
        for label, count in counts.items():
            labels.string_stats.rank_histogram.buckets.add(label=label.decode(), sample_count=count)
        folder = Path(artifact_utils.get_split_uri([artifact], split))
        folder.mkdir()
        (folder / "FeatureStats.pb").write_bytes(found.SerializeToString())
    return artifact


def value(record: bytes, feature: str) -> bytes:
    found: bytes = tf.train.Example.FromString(record).features.feature[feature].bytes_list.value[0]
    return found


def changed(record: bytes, **values: bytes) -> bytes:
    """A record with other values of LABEL, SHA256 or IMAGE."""
    example = tf.train.Example.FromString(record)
    for name, content in values.items():
        example.features.feature[getattr(features, name)].bytes_list.value[:] = [content]
    return bytes(example.SerializeToString(deterministic=True))


def activations(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.tfrecord")}


def count(photos: Mapping[str, list[bytes]]) -> int:
    return sum(map(len, photos.values()))


def test_the_same_photos_are_all_reused(
    first: Path, run: Run, reused: Reused, photos: Photos
) -> None:
    again = run()
    assert reused() == (count(photos), 0)
    assert activations(again) == activations(first)
    assert read_manifest(str(again)) == read_manifest(str(first))


def test_another_backbone_has_only_its_own_activations_computed(
    first: Path, run: Run, photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what an ensemble has computed is there for each of its members alone."""
    several = run(backbone=("tiny", "efficientnet_lite0"))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(("computed", ":"))] == [
        "  tiny:",
        f"  activations: {count(photos)} photos reused, 0 computed",
        "  efficientnet_lite0:",
        f"  activations: 0 photos reused, {count(photos)} computed",
    ]
    assert activations(several / "tiny") == activations(first)
    assert not (several / MANIFEST).exists()
    (first / MANIFEST).unlink()
    alone = run()
    assert f"{count(photos)} photos reused, 0 computed" in capsys.readouterr().out
    assert activations(alone) == activations(several / "tiny")


@pytest.mark.usefixtures("first")
def test_nothing_is_built_where_all_photos_are_reused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "Extractor", None)
    monkeypatch.setattr(writing, "photo_batches", None)
    run()


def test_what_every_worker_is_sent_does_not_grow_with_the_photos(
    run_in: Run, photos: Photos, tmp_path: Path
) -> None:
    """Nor is anything left behind."""

    def sent(name: str, photos: Photos) -> int:
        made = run_in(tmp_path / name, photos)
        beside = made.with_name("2")
        beside.mkdir()
        with find_earlier(str(beside), read_manifest(str(made)).recipe) as earlier:
            size = len(pickle.dumps(earlier))
        assert not list(beside.iterdir())
        return size

    fewer = {split: records[: len(records) // 2] for split, records in photos.items()}
    assert sent("some", photos) == sent("less", fewer)


def relabelled(photos: Photos) -> Photos:
    labels = [b"sad", b"happy", b"angry", b"relaxed"]
    others = {label: labels[index - 1] for index, label in enumerate(labels)}
    return {
        split: [
            changed(record, LABEL=others[value(record, features.LABEL)]) if index % 3 else record
            for index, record in enumerate(records)
        ]
        for split, records in photos.items()
    }


def fewer_in_another_order(photos: Photos) -> Photos:
    """One removed from each split."""
    return {split: records[:0:-1] for split, records in photos.items()}


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("change", [relabelled, fewer_in_another_order])
def test_what_does_not_change_a_photo_has_nothing_computed(
    change: Callable[[Photos], Photos], run: Run, alone: Run, reused: Reused, photos: Photos
) -> None:
    photos = change(photos)
    found = run(photos)
    assert reused() == (count(photos), 0)
    assert activations(found) == activations(alone(photos))


def with_some_added(photos: Photos) -> Photos:
    """A new photo at the front, in the midst and at the end of each split."""
    new = [new_photo(seed) for seed in range(6)]
    return {
        split: [new[i], *records[:3], new[i + 1], *records[3:], new[i + 2]]
        for i, (split, records) in zip((0, 3), photos.items(), strict=True)
    }


def new_photo(seed: int) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    _, jpeg = cv2.imencode(".jpg", image)
    values = {
        features.IMAGE: jpeg.tobytes(),
        features.FILENAME: b"new.jpg",
        features.LABEL: b"sad",
        features.SHA256: b"%064x" % seed,
        features.GROUP: b"%064x" % seed,
    }
    example = tf.train.Example()
    for name, content in values.items():
        example.features.feature[name].bytes_list.value.append(content)
    example.features.feature[features.BRIGHTNESS].float_list.value.append(128.0)
    for name in (features.WIDTH, features.HEIGHT):
        example.features.feature[name].int64_list.value.append(64)
    return bytes(example.SerializeToString(deterministic=True))


def with_some_in_another_split(photos: Photos) -> Photos:
    """Of training in val, which takes them plain, and of val in training, which takes views."""
    return {
        TRAIN: [*photos[TRAIN][4:], *photos[VAL][:2]],
        VAL: [*photos[VAL][2:], *photos[TRAIN][:4]],
    }


def with_some_prepared_otherwise(photos: Photos) -> Photos:
    """Two files of which ingestion has made other images, and an image that is of another file:
    its augmentation is another, too."""
    first, second, third = photos[TRAIN][:3]
    other = [
        changed(first, IMAGE=value(second, features.IMAGE)),
        changed(second, IMAGE=value(first, features.IMAGE)),
        changed(third, SHA256=b"%064x" % 7),
    ]
    return {**photos, TRAIN: [*other, *photos[TRAIN][3:]]}


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("change", "new"),
    [(with_some_added, 6), (with_some_in_another_split, 6), (with_some_prepared_otherwise, 3)],
)
def test_only_what_is_new_is_computed(
    change: Callable[[Photos], Photos],
    new: int,
    run: Run,
    alone: Run,
    reused: Reused,
    photos: Photos,
) -> None:
    photos = change(photos)
    found = run(photos)
    assert reused() == (count(photos) - new, new)
    assert activations(found) == activations(alone(photos))


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("otherwise", [{"rotation": 0.1}, {"views": 3}, {"code": "2"}])
def test_another_recipe_has_all_computed(
    otherwise: dict[str, Any], run: Run, reused: Reused, photos: Photos
) -> None:
    run(**otherwise)
    assert reused() == (0, count(photos))
    run()  # The newest is of the other recipe, but not the only one.
    assert reused() == (count(photos), 0)


@pytest.mark.usefixtures("first")
def test_other_weights_have_all_computed(
    run: Run, reused: Reused, photos: Photos, tmp_path: Path
) -> None:
    backbone, _ = build_backbone("tiny", "random")
    backbone.get_layer("stem3_bn").gamma.assign(np.full(64, 2))
    backbone.save_weights(tmp_path / "own.weights.h5")
    run(weights=str(tmp_path / "own.weights.h5"))
    assert reused() == (0, count(photos))


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink])
def test_a_damaged_folder_is_named_and_left_alone(
    damage: Callable[[Path], None],
    first: Path,
    run: Run,
    made: Path,
    photos: Photos,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(max(first.glob("Split-train/view-01-*")))
    again = run()
    told = capsys.readouterr().out
    assert f"  activations: {first} is damaged, nothing is reused from it\n" in told
    assert told.endswith(f"  activations: 0 photos reused, {count(photos)} computed\n")
    assert activations(again) == activations(made)


def test_a_folder_of_another_version_is_left_alone(
    first: Path, run: Run, reused: Reused, photos: Photos
) -> None:
    (first / MANIFEST).write_text("{}")
    run()
    assert reused() == (0, count(photos))


@pytest.mark.usefixtures("first")
def test_after_a_kill_what_is_finished_is_reused_and_what_is_not_is_left_alone(
    run: Run,
    alone: Run,
    reused: Reused,
    photos: Photos,
    node_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos = with_some_added(photos)

    def killed(*_: Any) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(writing, "encode_record", killed)
        with pytest.raises(KeyboardInterrupt):
            run(photos)
    unfinished = node_folder / "2"
    assert list(unfinished.rglob("*.tfrecord"))
    assert not (unfinished / MANIFEST).exists()
    again = run(photos)
    assert reused() == (count(photos) - 6, 6)
    assert activations(again) == activations(alone(photos))
