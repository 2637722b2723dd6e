from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.training.augmentation import augmented_view
from components.training.augmentation_settings import AugmentationSettings

Array = np.ndarray[Any, np.dtype[np.float32]]

PHOTO, OTHER_PHOTO = "0" * 63 + "1", "f" * 64
NOTHING = AugmentationSettings(horizontal_flip=False, rotation=0, contrast=0)


@pytest.fixture(scope="module")
def image() -> Array:
    """Smooth, and like no mirror image or turned copy of itself."""
    noise = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3))
    return np.asarray(tf.image.resize(noise, [224, 224], method="bilinear")[0])


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Fixes what chance says of flip, rotation and contrast, each from 0 to 1."""

    def fix(*values: float) -> None:
        class Fixed:
            def random(self, size: int) -> tuple[float, ...]:
                assert size == len(values)
                return values

        monkeypatch.setattr(np.random, "default_rng", lambda _: Fixed())

    return fix


def test_a_view_is_a_photo_again(image: Array) -> None:
    found = augmented_view(image, AugmentationSettings(), PHOTO, 0)
    assert found.shape == image.shape
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert 0 <= found.min() < found.max() <= 255


def test_photo_and_view_alone_decide(image: Array) -> None:
    settings = AugmentationSettings()
    before = image.copy()
    first = augmented_view(image, settings, PHOTO, 0)
    np.testing.assert_array_equal(augmented_view(image, settings, PHOTO, 0), first)
    np.testing.assert_array_equal(image, before)
    assert np.abs(augmented_view(image, settings, PHOTO, 1) - first).max() > 1
    assert np.abs(augmented_view(image, settings, OTHER_PHOTO, 0) - first).max() > 1


def test_a_change_stays_when_another_is_turned_off(image: Array) -> None:
    settings = AugmentationSettings(horizontal_flip=False, contrast=0)
    turned = augmented_view(image, settings, PHOTO, 0)
    with_contrast = augmented_view(image, settings.model_copy(update={"contrast": 0.2}), PHOTO, 0)
    assert np.corrcoef(turned.ravel(), with_contrast.ravel())[0, 1] > 0.999


def test_no_change_is_asked_for(image: Array) -> None:
    np.testing.assert_array_equal(augmented_view(image, NOTHING, PHOTO, 0), image)


@pytest.mark.parametrize("rotation", [0, 1e-9])
def test_a_flip_mirrors(draws: Callable[..., None], image: Array, rotation: float) -> None:
    settings = NOTHING.model_copy(update={"horizontal_flip": True, "rotation": rotation})
    draws(0.49, 0.5, 0.5)
    np.testing.assert_allclose(augmented_view(image, settings, PHOTO, 0), image[:, ::-1], atol=0.01)
    draws(0.51, 0.5, 0.5)
    np.testing.assert_allclose(augmented_view(image, settings, PHOTO, 0), image, atol=0.01)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turn", [0.0, 0.3, 1.0])
def test_a_rotation_is_that_of_keras(
    draws: Callable[..., None], image: Array, turn: float, flip: bool
) -> None:
    angle = 0.05 * (2 * turn - 1)
    by_keras = keras.layers.RandomRotation((angle, angle), fill_mode="reflect")
    draws(0.0 if flip else 0.9, turn, 0.5)
    settings = NOTHING.model_copy(update={"horizontal_flip": flip, "rotation": 0.05})
    found = augmented_view(image, settings, PHOTO, 0)
    wanted = by_keras(image[:, ::-1] if flip else image, training=True)
    # The corners too: what is mirrored into them is the same.
    np.testing.assert_allclose(found, wanted, atol=0.5)


@pytest.mark.parametrize("stretch", [0.0, 0.5, 1.0])
def test_a_contrast_is_that_of_tensorflow(
    draws: Callable[..., None], image: Array, stretch: float
) -> None:
    draws(0.9, 0.5, stretch)
    settings = NOTHING.model_copy(update={"contrast": 0.4})
    wanted = tf.image.adjust_contrast(image, 1 + 0.4 * (2 * stretch - 1))
    np.testing.assert_allclose(
        augmented_view(image, settings, PHOTO, 0), np.clip(wanted, 0, 255), atol=0.01
    )


def test_the_changes_are_distributed_as_those_of_the_keras_layers() -> None:
    """Two ramps tell of every copy how it was changed: the slopes at its centre."""
    photos, side = 400, 32
    ramp = np.linspace(100, 150, side, dtype=np.float32)
    picture = np.stack([*np.meshgrid(ramp, ramp), np.full((side, side), 125)], axis=-1)
    picture = picture.astype(np.float32)
    settings = AugmentationSettings()
    ours = np.stack([augmented_view(picture, settings, f"{i:064x}", 1) for i in range(photos)])
    by_keras = np.repeat(picture[None], photos, axis=0)
    for layer in (
        keras.layers.RandomFlip("horizontal", seed=0),
        keras.layers.RandomRotation(settings.rotation, fill_mode="reflect", seed=1),
        # Of a single number Keras 3 makes the bounds (0, number), and only raises the contrast.
        keras.layers.RandomContrast((settings.contrast,) * 2, value_range=(0, 255), seed=2),
    ):
        by_keras = np.asarray(layer(by_keras, training=True))

    def changes(copies: Array) -> dict[str, Array]:
        centre = copies[:, side // 2 - 4 : side // 2 + 4, side // 2 - 4 : side // 2 + 4, :2]
        along_x = np.diff(centre, axis=2).mean(axis=(1, 2)) / (ramp[1] - ramp[0])
        factor = np.hypot(along_x[:, 0], along_x[:, 1])
        flip = np.sign(along_x[:, 0])
        return {
            "flip": flip,
            "angle": np.degrees(np.arcsin(flip * along_x[:, 1] / factor)),
            "factor": factor,
        }

    found, wanted = changes(ours), changes(by_keras)
    assert abs(found["angle"]).max() == pytest.approx(18, abs=0.3)
    assert found["factor"].min() == pytest.approx(0.8, abs=0.01)
    assert found["factor"].max() == pytest.approx(1.2, abs=0.01)
    assert np.mean(found["flip"]) == pytest.approx(np.mean(wanted["flip"]), abs=0.2)
    for name in ("angle", "factor"):
        # Kolmogorov and Smirnov: samples of one distribution stay below this 99 times of 100.
        both = np.concatenate([found[name], wanted[name]])
        shares = [
            np.searchsorted(np.sort(sample), both, side="right") / photos
            for sample in (found[name], wanted[name])
        ]
        assert abs(shares[0] - shares[1]).max() < 1.63 * np.sqrt(2 / photos), name
