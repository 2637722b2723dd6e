"""PDQ hashes of a photo and of its slight changes: near-duplicates have hashes that are alike.

PDQ is Meta's perceptual hash of 256 bits (github.com/facebook/ThreatExchange, pdq/). By itself it
bears resizing, recompression and other colours, but little cropping: 5 % cut off one side changes
some 80 bits, as many as lie between unlike photos. So a photo is looked for by the hashes of what a
slight crop or turn would make of it, too. One of two near-duplicates mostly has such a change, so
either is looked for among the plain photos.
"""

from collections.abc import Callable

import cv2
import numpy as np
import pdqhash
from numpy.typing import NDArray

from data.photos import Pixels

BYTES = 32
SIDE = 64
"""Pixels; PDQ itself reduces every picture to that."""
EDGE = 0.06
"""The share of a side that is cut off. What differs by about 4 % is alike, so this reaches from a
crop of 2 % to one of 10 %."""
DEGREES = 6.0
FEATURELESS = 50
"""PDQ's quality, from 0 to 100, below which its authors advise not to compare: the hash of a plain
surface is that of its noise."""

Hashes = NDArray[np.uint8]
"""[..., HASHES, 32]: of the photo, of its mirror image, then of its other changes."""


def _crop(top: float, bottom: float, left: float, right: float) -> Callable[[Pixels], Pixels]:
    def crop(image: Pixels) -> Pixels:
        rows, columns = image.shape[:2]
        return image[
            round(rows * top) : rows - round(rows * bottom),
            round(columns * left) : columns - round(columns * right),
        ]

    return crop


def _turn(degrees: float) -> Callable[[Pixels], Pixels]:
    def turn(image: Pixels) -> Pixels:
        rows, columns = image.shape[:2]
        matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
        turned = cv2.warpAffine(image, matrix, (columns, rows), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(turned, np.uint8)

    return turn


def _mirror(image: Pixels) -> Pixels:
    return image[:, ::-1]


CHANGES: tuple[Callable[[Pixels], Pixels], ...] = (
    lambda image: image,
    _mirror,
    _crop(0.04, 0.04, 0.04, 0.04),
    _crop(0.08, 0.08, 0.08, 0.08),
    _crop(EDGE, 0, 0, 0),
    _crop(0, EDGE, 0, 0),
    _crop(0, 0, EDGE, 0),
    _crop(0, 0, 0, EDGE),
    _crop(EDGE, 0, EDGE, 0),
    _crop(EDGE, 0, 0, EDGE),
    _crop(0, EDGE, EDGE, 0),
    _crop(0, EDGE, 0, EDGE),
    _turn(DEGREES),
    _turn(-DEGREES),
)
HASHES = len(CHANGES)
INDEXED = 2
"""The first so many are what others are looked for among: a photo and its mirror image."""
ASKED = [0, *range(INDEXED, HASHES)]
"""The hashes by which a photo is looked for; the mirror image is on the other side already."""


def hash_changes(image: Pixels) -> Hashes:
    """The PDQ hashes of a photo, RGB uint8 [height, width, 3]: uint8 [HASHES, 32].

    Those of a photo without features are all zero, which stands for: like no other.
    """
    reduced = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small: Pixels = np.asarray(reduced, np.uint8)
    bits, quality = pdqhash.compute(small)
    if quality < FEATURELESS:
        return np.zeros((HASHES, BYTES), np.uint8)
    others = [pdqhash.compute(np.ascontiguousarray(change(small)))[0] for change in CHANGES[1:]]
    return np.packbits(np.array([bits, *others], np.uint8), axis=1)
