"""What speaks for an answer, laid over the photo: the colours are those of `predict --plot`."""

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from components.pages.thumbnails import SIDE, decode, to_uri

_HEAT = (0, 94, 213)
"""Okabe and Ito's vermilion (Color Universal Design, 2008), BGR."""
_MOST = 0.75
"""How much of the photo the strongest evidence covers."""
_UNSEEN = 0.75
"""How much of what the model does not see is white."""


def evidence_thumbnail(jpeg: bytes, evidence: NDArray[np.floating]) -> Markup:
    """A photo as a `data:` URI: grey, pale where the model does not see it, under its evidence.

    Args:
        jpeg: upright, as the records hold it.
        evidence: [height, width], of the centred square that the model looks at. Negative values
            speak against the class; they are not drawn.

    Raises:
        ValueError: it cannot be decoded.
    """
    image = decode(jpeg, side=SIDE)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64)
    height, width = grey.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    seen = np.s_[top : top + side, left : left + side]
    pale = grey * (1 - _UNSEEN) + 255 * _UNSEEN
    pale[seen] = grey[seen]
    drawn = np.repeat(pale[..., np.newaxis], 3, axis=2)
    positive = np.maximum(evidence, 0).astype(np.float32)
    if (most := float(positive.max())) > 0:
        smooth = cv2.resize(positive / most, (side, side), interpolation=cv2.INTER_CUBIC)
        cover = _MOST * np.clip(smooth, 0, 1)[..., np.newaxis]
        drawn[seen] = drawn[seen] * (1 - cover) + np.array(_HEAT) * cover
    return to_uri(np.rint(drawn).astype(np.uint8))
