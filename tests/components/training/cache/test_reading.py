import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.errors import ComponentError
from components.model.backbone import WeightsOrigin
from components.training.augmentation_settings import AugmentationSettings
from components.training.cache import reading
from components.training.cache.format import (
    MANIFEST,
    CacheManifest,
    Feature,
    bytes_per_record,
    encode_record,
    read_manifest,
    to_float16,
    view_file,
    write_manifest,
)
from components.training.cache.reading import (
    recorded_batches,
    training_batches,
    validation_batches,
)

SHAPE, POOLED_SIZE, VIEWS, SHARDS = (2, 3, 4), 5, 3, 2
PHOTOS = {"train": 10, "val": 5}

MADE = CacheManifest(
    backbone="tiny",
    weights=WeightsOrigin("random", "none"),
    boundary_layer="stem3_pool",
    spatial_shape=SHAPE,
    pooled_size=POOLED_SIZE,
    augmentation=AugmentationSettings(mode="cached", views=VIEWS, rotation=0.1),
    photos=PHOTOS,
    label_counts={"sad": 4, "happy": 6},
    recipe="42",
)


def number(split: str, view: int, photo: int) -> int:
    """The one value that all activations of a photo and view have in these tests."""
    return 1000 * list(PHOTOS).index(split) + 100 * view + photo


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Complete activations, each record filled with one number; the class id is the photo's."""
    for split, photos in PHOTOS.items():
        (tmp_path / f"Split-{split}").mkdir()
        for view in range(VIEWS if split == "train" else 1):
            for shard in range(SHARDS):
                with tf.io.TFRecordWriter(
                    view_file(str(tmp_path), split, view, shard, SHARDS)
                ) as writer:
                    for photo in range(shard, photos, SHARDS):
                        value = np.float32(number(split, view, photo))
                        boundary, pooled = np.full(SHAPE, value), np.full(POOLED_SIZE, value)
                        boundary[0, 0, 1] = 0.5
                        writer.write(
                            encode_record(
                                to_float16(boundary),
                                to_float16(pooled),
                                photo,
                                b"%064x" % photo,
                                b"%032x" % photo,
                            )
                        )
    write_manifest(str(tmp_path), MADE)
    return str(tmp_path)


def epochs(folder: str, count: int, **settings: Any) -> list[list[tuple[list[int], list[int]]]]:
    """The numbers and class ids of each batch of the first epochs."""
    arguments = {"batch_size": 4, "seed": 0, "first_epoch": 0, **settings}
    batches = iter(training_batches(folder, "pooled", **arguments))
    steps = math.ceil(PHOTOS["train"] / arguments["batch_size"])
    return [
        [
            (values[:, 0].numpy().astype(int).tolist(), labels.numpy().tolist())
            for values, labels in itertools.islice(batches, steps)
        ]
        for _ in range(count)
    ]


def test_an_epoch_holds_each_photo_once_in_the_view_of_its_number(folder: str) -> None:
    for epoch, batches in enumerate(epochs(folder, 2 * VIEWS + 1)):
        assert [len(labels) for _, labels in batches] == [4, 4, 2]
        found = [pair for batch in batches for pair in zip(*batch, strict=True)]
        view = epoch % VIEWS
        assert sorted(found) == [(number("train", view, photo), photo) for photo in range(10)]


def test_every_epoch_has_an_order_of_its_own_and_a_seed_repeats_it(folder: str) -> None:
    def orders(**settings: Any) -> list[list[int]]:
        return [
            [label for _, labels in epoch for label in labels]
            for epoch in epochs(folder, 4, **settings)
        ]

    first = orders(seed=5)
    assert len({tuple(order) for order in first}) == 4
    tf.random.set_seed(1)
    again = orders(seed=5)
    tf.random.set_seed(1)
    assert orders(seed=5) == again
    assert orders(seed=50) != again


def test_validation_photos_that_are_learnt_from_lie_among_the_others(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be more of the others than are shuffled at once."""
    monkeypatch.setattr(reading, "SHUFFLE_BUFFER", 1)
    batches = training_batches(folder, "pooled", batch_size=1, seed=0, first_epoch=0, with_val=True)
    found = [int(values[0, 0]) for values, _ in batches.take(15)]
    assert sorted(found) == sorted(
        number(split, 0, photo) for split, count in PHOTOS.items() for photo in range(count)
    )
    first = number("val", 0, 0)
    assert any(value >= first for value in found[:7])


def test_each_view_of_a_photo_comes_with_the_target_of_its_place(folder: str) -> None:
    recorded = [
        [
            (int(value), int(label))
            for values, labels in recorded_batches(folder, "pooled", view=view, batch_size=3)
            for value, label in zip(values[:, 0], labels, strict=True)
        ]
        for view in range(VIEWS)
    ]
    assert [len(view) for view in recorded] == [PHOTOS["train"] + PHOTOS["val"]] * VIEWS
    targets = np.array(recorded, np.float32)
    batches = training_batches(
        folder, "pooled", batch_size=4, seed=0, first_epoch=0, targets=targets
    )
    for number, (values, told) in enumerate(batches.take(3 * 2 * VIEWS)):
        assert told.shape == (len(values), 2)
        np.testing.assert_array_equal(told[:, 0], values[:, 0], str(number))
    whole = training_batches(
        folder, "pooled", batch_size=4, seed=0, first_epoch=0, with_val=True, targets=targets
    )
    for values, told in whole.take(4 * VIEWS):
        np.testing.assert_array_equal(told[:, 0], values[:, 0])


def test_training_goes_on_with_the_epoch_it_was_killed_in(folder: str) -> None:
    tf.random.set_seed(1)
    whole = epochs(folder, 4)
    assert epochs(folder, 2, first_epoch=2) == whole[2:]


@pytest.mark.parametrize(("feature", "shape"), [("pooled", (POOLED_SIZE,)), ("spatial", SHAPE)])
def test_values_have_their_shape_and_place(
    folder: str, feature: Feature, shape: tuple[int, ...]
) -> None:
    datasets = (
        training_batches(folder, feature, batch_size=4, seed=0, first_epoch=0),
        validation_batches(folder, feature, batch_size=4),
    )
    for dataset in datasets:
        assert dataset.element_spec == (
            tf.TensorSpec([None, *shape], tf.float32),
            tf.TensorSpec([None], tf.int64),
        )
        values, labels = next(iter(dataset))
        assert values.shape == (4, *shape)
        if feature == "spatial":
            assert values[:, 0, 0, 1].numpy().tolist() == [0.5] * 4
            assert (values[:, 0, 0, 0].numpy() % 100).tolist() == labels.numpy().tolist()


def test_validation_sees_each_photo_once_in_a_fixed_order(folder: str) -> None:
    dataset = validation_batches(folder, "pooled", batch_size=3)
    for _ in range(2):
        found = [
            (int(value), int(label))
            for values, labels in dataset
            for value, label in zip(values[:, 0], labels, strict=True)
        ]
        shards = [range(shard, PHOTOS["val"], SHARDS) for shard in range(SHARDS)]
        photos = list(itertools.chain(*shards))
        assert found == [(number("val", 0, photo), photo) for photo in photos]


def test_float16_rounds_by_half_of_its_last_place() -> None:
    values = np.random.default_rng(0).normal(0, 20, 100_000).astype(np.float32)
    rounded = to_float16(values)
    assert rounded.dtype == np.dtype("<f2")
    deviation = np.abs(rounded.astype(np.float32) - values)
    # Below 2**-14 numbers of float16 are evenly spaced.
    assert (deviation <= np.maximum(2.0**-11 * np.abs(values), 2.0**-25)).all()


@pytest.mark.parametrize("value", [65_520.0, -1e30, np.inf, np.nan])
def test_what_float16_cannot_hold_is_refused(value: float) -> None:
    assert np.isfinite(to_float16(np.array([65_519.0], np.float32))).all()
    with pytest.raises(ComponentError, match=r"do not fit float16, which ends at 65504: take"):
        to_float16(np.array([1, value], np.float32))


def test_the_size_of_a_record_is_known_beforehand(folder: str) -> None:
    file = Path(view_file(folder, "train", 0, 0, SHARDS))
    assert file.stat().st_size == PHOTOS["train"] / SHARDS * bytes_per_record(SHAPE, POOLED_SIZE)


def test_a_manifest_is_read_as_it_was_written(folder: str) -> None:
    found = read_manifest(folder)
    assert found.views == VIEWS
    settings = MADE.augmentation.model_copy(update={"mode": "auto"})
    assert found == MADE.model_copy(update={"augmentation": settings})
    assert "mode" not in (Path(folder) / MANIFEST).read_text()
    assert {path.name for path in Path(folder).iterdir()} == {
        MANIFEST,
        *(f"Split-{split}" for split in PHOTOS),
    }


def test_a_remote_manifest_is_read(folder: str) -> None:
    tf.io.gfile.copy(f"{folder}/{MANIFEST}", f"ram://bucket/{MANIFEST}", overwrite=True)
    assert read_manifest("ram://bucket") == read_manifest(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"boundary_layer"', '"cut"'),
        lambda text: text.replace("{", '{"added_by_a_later_version": 1,', 1),
        lambda text: None,
    ],
)
def test_a_manifest_of_another_form_says_what_to_do(folder: str, damage: Any) -> None:
    file = Path(folder) / MANIFEST
    text = damage(file.read_text())
    file.unlink() if text is None else file.write_text(text)
    message = f"{file} is missing or damaged: delete {folder} and run again"
    for read in (
        lambda: read_manifest(folder),
        lambda: training_batches(folder, "pooled", batch_size=4, seed=0, first_epoch=0),
        lambda: validation_batches(folder, "pooled", batch_size=4),
    ):
        with pytest.raises(ComponentError) as error:
            read()
        assert str(error.value) == message


def test_a_manifest_that_is_not_text_says_what_to_do(folder: str) -> None:
    (Path(folder) / MANIFEST).write_bytes(b"\xff\xfe")
    with pytest.raises(ComponentError, match="is missing or damaged"):
        read_manifest(folder)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_missing_file_is_noticed(folder: str, shard: int) -> None:
    Path(view_file(folder, "train", 1, shard, SHARDS)).unlink()
    Path(view_file(folder, "val", 0, shard, SHARDS)).unlink()
    message = r"view-01-\*-of-\*\.tfrecord is missing or damaged: delete .+ and run again"
    with pytest.raises(ComponentError, match=message):
        training_batches(folder, "pooled", batch_size=4, seed=0, first_epoch=0)
    with pytest.raises(ComponentError, match=r"view-00-\*-of-\*\.tfrecord is missing"):
        validation_batches(folder, "pooled", batch_size=4)


def test_a_damaged_record_is_noticed(folder: str) -> None:
    file = Path(view_file(folder, "val", 0, 0, SHARDS))
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
        list(validation_batches(folder, "pooled", batch_size=4))
