import base64
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from components.pages.thumbnails import SIDE, thumbnail

PREFIX = "data:image/webp;base64,"


def jpeg(width: int, height: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((512, 256), (SIDE, SIDE // 2)),
        ((100, 400), (SIDE // 4, SIDE)),
        ((40, 30), (40, 30)),
        ((512, 1), (SIDE, 1)),
    ],
)
def test_a_thumbnail_is_small_and_keeps_its_shape(
    size: tuple[int, int], small: tuple[int, int]
) -> None:
    uri = thumbnail(jpeg(*size))
    assert uri.startswith(PREFIX)
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX)))) as image:
        assert image.format == "WEBP"
        assert image.size == small


def test_what_is_no_picture_is_said() -> None:
    with pytest.raises(ValueError, match="not a picture"):
        thumbnail(b"hello")
