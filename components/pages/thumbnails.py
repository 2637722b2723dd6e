"""Photos small enough to put hundreds of them into one page."""

import base64

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

SIDE = 128
"""Pixels: a little more than the page shows, for screens with fine pixels."""
_QUALITY = 55


def thumbnail(jpeg: bytes, *, side: int = SIDE) -> Markup:
    """A photo as a `data:` URI: WebP, 3 KB or so with 128 pixels.

    Args:
        jpeg: upright, as the records hold it.
        side: pixels of the longest side, at most.

    Raises:
        ValueError: it cannot be decoded.
    """
    return to_uri(decode(jpeg, side=side))


def decode(jpeg: bytes, *, side: int) -> NDArray[np.uint8]:
    """A photo's pixels, uint8 [height, width, 3] in BGR, the longest side at most `side`.

    Raises:
        ValueError: it cannot be decoded.
    """
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not a picture")
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image.astype(np.uint8, copy=False)


def to_uri(image: NDArray[np.uint8]) -> Markup:
    """Pixels, uint8 [height, width, 3] in BGR, as a `data:` URI of WebP."""
    webp = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return Markup("data:image/webp;base64,") + base64.b64encode(webp.tobytes()).decode()
