"""Pictures for the tests of this room."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
