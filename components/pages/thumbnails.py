"""Photos small enough to put hundreds of them into one page."""

import base64

import cv2
import numpy as np
from markupsafe import Markup

SIDE = 128
"""Pixels: a little more than the page shows, for screens with fine pixels."""
_QUALITY = 55


def thumbnail(jpeg: bytes) -> Markup:
    """A photo as a `data:` URI: WebP, its longest side at most `SIDE` pixels; 3 KB or so.

    Args:
        jpeg: upright, as the records hold it.

    Raises:
        ValueError: it cannot be decoded.
    """
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("not a picture")
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    webp = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return Markup("data:image/webp;base64,") + base64.b64encode(webp.tobytes()).decode()
