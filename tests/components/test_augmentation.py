from collections.abc import Callable

import cv2
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from components.augmentation import augmentation
from components.settings import AugmentationSettings
from data.drawn_dogs import draw_photo
from data.photos import decode_photo

Pixels = NDArray[np.float32]

NOTHING = AugmentationSettings(horizontal_flip=False, rotation=0.0, contrast=0.0)
FLIP = AugmentationSettings(horizontal_flip=True, rotation=0.0, contrast=0.0)
ROTATION = AugmentationSettings(horizontal_flip=False, rotation=0.05, contrast=0.0)
CONTRAST = AugmentationSettings(horizontal_flip=False, rotation=0.0, contrast=0.2)
EVERYTHING = AugmentationSettings()


@pytest.fixture(scope="module")
def photos() -> Pixels:
    """Sixteen times the same dog."""
    photo = decode_photo(draw_photo("happy", np.random.default_rng(0)))
    return np.stack([cv2.resize(photo, (224, 224))] * 16).astype(np.float32)


Augment = Callable[..., Pixels]


def eagerly(photos: Pixels, settings: AugmentationSettings, *, seed: int = 0) -> Pixels:
    return np.asarray(augmentation(settings, seed)(tf.constant(photos)))


def in_tf_data(photos: Pixels, settings: AugmentationSettings, *, seed: int = 0) -> Pixels:
    dataset = tf.data.Dataset.from_tensor_slices(photos).batch(5)
    changed = dataset.map(augmentation(settings, seed), num_parallel_calls=tf.data.AUTOTUNE)
    return np.concatenate(list(changed.as_numpy_iterator()))


BOTH_WAYS = pytest.mark.parametrize("augment", [eagerly, in_tf_data])


@BOTH_WAYS
def test_range_and_dtype_are_kept(photos: Pixels, augment: Augment) -> None:
    extremes = np.stack([np.zeros_like(photos[0]), np.full_like(photos[0], 255), *photos])
    changed = augment(extremes, EVERYTHING)
    assert changed.dtype == np.float32
    assert changed.shape == extremes.shape
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert changed.max() > 1


@BOTH_WAYS
def test_nothing_switched_on_changes_nothing(photos: Pixels, augment: Augment) -> None:
    np.testing.assert_array_equal(augment(photos, NOTHING), photos)


@BOTH_WAYS
def test_a_flip_alone_mirrors_some_photos(photos: Pixels, augment: Augment) -> None:
    mirrored = photos[0, :, ::-1]
    changed = augment(photos, FLIP)
    as_mirrored = [bool(np.array_equal(photo, mirrored)) for photo in changed]
    as_before = [bool(np.array_equal(photo, photos[0])) for photo in changed]
    assert all(a != b for a, b in zip(as_mirrored, as_before, strict=True))
    assert any(as_mirrored)
    assert any(as_before)


def angle_and_radius(photo: Pixels) -> tuple[float, float]:
    """Where a bright dot on black lies, from the centre, in degrees and pixels."""
    y, x = np.indices(photo.shape[:2])
    light = photo[..., 0] / photo[..., 0].sum()
    dx, dy = float((light * x).sum()) - 111.5, float((light * y).sum()) - 111.5
    return float(np.degrees(np.arctan2(dy, dx))), float(np.hypot(dx, dy))


@BOTH_WAYS
def test_a_rotation_alone_turns_within_its_bound(augment: Augment) -> None:
    dot = np.zeros((224, 224, 3), np.float32)
    cv2.circle(dot, (112 + 60, 112), 6, (255, 255, 255), -1)
    turned = [angle_and_radius(photo) for photo in augment(np.stack([dot] * 64), ROTATION)]
    angles = [angle for angle, _ in turned]
    before, radius = angle_and_radius(dot)
    # 0.05 of a full turn, and half a degree for what interpolation does to the dot.
    assert max(abs(angle - before) for angle in angles) < 18.5
    assert max(angles) > 9
    assert min(angles) < -9
    assert all(abs(each - radius) < 0.5 for _, each in turned)


@BOTH_WAYS
def test_a_rotation_leaves_no_black_corners(augment: Augment) -> None:
    grey = np.full((16, 224, 224, 3), 100, np.float32)
    np.testing.assert_allclose(augment(grey, ROTATION), grey, atol=1e-3)


@BOTH_WAYS
def test_a_contrast_alone_stretches_within_its_bound(augment: Augment) -> None:
    ramp = np.linspace(100, 150, 224, dtype=np.float32)
    photos = np.broadcast_to(ramp[None, :, None, None], (64, 224, 224, 3)).copy()
    changed = augment(photos, CONTRAST)
    factors = changed.std(axis=(1, 2, 3)) / photos.std(axis=(1, 2, 3))
    assert factors.min() > 0.799
    assert factors.max() < 1.201
    assert factors.min() < 0.9
    assert factors.max() > 1.1
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3)), 125, atol=0.1)
    assert (np.diff(changed[:, :, 0, 0], axis=1) > 0).all()


def test_every_epoch_is_augmented_anew(photos: Pixels) -> None:
    dataset = tf.data.Dataset.from_tensor_slices(photos).batch(16).map(augmentation(EVERYTHING, 0))
    first, second = (next(dataset.as_numpy_iterator()) for _ in range(2))
    assert not np.allclose(first, second)
    assert not np.allclose(first[0], first[1])


def test_a_seed_repeats_its_changes(photos: Pixels) -> None:
    np.testing.assert_array_equal(
        eagerly(photos, EVERYTHING, seed=3), eagerly(photos, EVERYTHING, seed=3)
    )
    assert not np.allclose(eagerly(photos, EVERYTHING, seed=3), eagerly(photos, EVERYTHING, seed=4))
