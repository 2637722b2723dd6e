"""Pictures for the tests of this room."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


@pytest.fixture
def save() -> Callable[..., bytes]:
    """The bytes of a Pillow image, saved in a format by Pillow."""

    def save_image(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, image_format, **options)
        return file.getvalue()

    return save_image


@pytest.fixture(scope="session")
def draw_noise() -> Callable[[Path, int], bytes]:
    """Writes a small picture that differs from that of every other seed; returns its bytes."""

    def write(file: Path, seed: int) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file, "PNG")
        return file.read_bytes()

    return write


@pytest.fixture(scope="session")
def draw_scene() -> Callable[[int], NDArray[np.uint8]]:
    """Soft coloured shapes, RGB uint8 [200, 240, 3], as unlike from seed to seed as photos are."""

    def draw(seed: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        coarse = rng.normal(0, 1, (16, 20, 3)).astype(np.float32)
        soft = cv2.resize(coarse, (240, 200), interpolation=cv2.INTER_CUBIC)
        return np.clip(128 + 50 * soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)

    return draw
