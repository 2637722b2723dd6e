from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.model.preprocessing import decode_and_fit
from components.training.augmentation import augmented_view
from components.training.augmentation_settings import AugmentationSettings
from components.training.photo_batches import (
    augmented,
    balanced_class_weights,
    label_counts,
    labelled_images,
    photo_batches,
)
from data.contract import features
from data.ingest import IngestResult
from pipeline.config import Config


def feature(record: bytes, name: str) -> bytes:
    value: bytes = tf.train.Example.FromString(record).features.feature[name].bytes_list.value[0]
    return value


def test_photos_and_labels_are_those_of_the_records(
    transform: Any, split_files: dict[str, str], records: dict[str, list[bytes]], config: Config
) -> None:
    batches = list(labelled_images(split_files["test"], transform, batch_size=8))
    assert [len(labels) for _, labels in batches] == [8, 8, 2]
    assert {images.dtype for images, _ in batches} == {tf.float32}
    assert {labels.dtype for _, labels in batches} == {tf.int64}
    names = [config.classes[i] for _, labels in batches for i in labels.numpy()]
    assert names == [feature(record, features.LABEL).decode() for record in records["test"]]
    images = np.concatenate([images for images, _ in batches])
    expected = [decode_and_fit(feature(record, features.IMAGE)) for record in records["test"]]
    np.testing.assert_allclose(images, np.stack(expected), atol=1e-3)


def test_a_seed_shuffles_anew_each_time_through_and_repeatably(
    transform: Any, split_files: dict[str, str]
) -> None:
    def epochs(seed: int | None) -> list[list[float]]:
        dataset = photo_batches(split_files["val"], transform, batch_size=4, shuffle_seed=seed).map(
            lambda images, *_: tf.reduce_mean(images, axis=[1, 2, 3])
        )
        return [[float(mean) for batch in dataset for mean in batch] for _ in range(2)]

    first, second = epochs(7)
    assert first != second
    assert sorted(first) == pytest.approx(sorted(second))
    assert epochs(7) == [first, second]
    in_order, again = epochs(None)
    assert in_order == again
    assert sorted(in_order) == pytest.approx(sorted(first))


def test_photos_come_with_their_hashes(
    transform: Any, split_files: dict[str, str], records: dict[str, list[bytes]]
) -> None:
    batches = photo_batches(split_files["test"], transform, batch_size=8)
    found = [photo for *_, photos in batches for photo in photos.numpy()]
    assert found == [feature(record, features.SHA256) for record in records["test"]]


def test_a_batch_within_a_dataset_is_augmented_photo_by_photo() -> None:
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    photos, settings = ["0a", "ff", "1"], AugmentationSettings()
    dataset = tf.data.Dataset.from_tensors((images, photos)).repeat(2).enumerate()
    changed = list(
        dataset.map(
            lambda view, batch: augmented(batch[0], batch[1], view, settings), num_parallel_calls=2
        ).as_numpy_iterator()
    )
    for view in (0, 1):
        expected = [
            augmented_view(image, settings, photo, view)
            for image, photo in zip(images, photos, strict=True)
        ]
        np.testing.assert_array_equal(changed[view], np.stack(expected))


def test_labels_are_counted(ingested: IngestResult, split_files: dict[str, str]) -> None:
    for split, counts in ingested.counts.items():
        assert label_counts(split_files[split]) == counts


def test_even_classes_weigh_1() -> None:
    assert balanced_class_weights(Counter(a=5, b=5, c=5), ["c", "a", "b"]) == {0: 1, 1: 1, 2: 1}


def test_uneven_classes_get_the_same_say() -> None:
    counts = Counter(few=10, many=30, some=20)
    weights = balanced_class_weights(counts, ["many", "few", "some"])
    assert weights == pytest.approx({0: 60 / (3 * 30), 1: 60 / (3 * 10), 2: 60 / (3 * 20)})
    says = [weights[i] * counts[name] for i, name in enumerate(["many", "few", "some"])]
    assert says == pytest.approx([20, 20, 20])
