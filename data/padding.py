"""White bars that somebody added to a photo to make it a square."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.photos import Pixels

WHITE = 240
"""The least of a white pixel's channels: JPEG and scaling leave a bar not quite white."""
WHOLE = 0.97
"""The share of a line of pixels that is white within a bar."""
EDGE = 0.4
"""The share of a line that is not white where the photo begins. Before a white studio there is no
such line: an ear comes first."""
BLUR = 0.05
"""How far behind the bar that line may be, as a share of the photo's side: scaling blurs edges."""
LEAST = 0.02
"""Two opposite bars take at least this share of the photo's side."""


class Padding(NamedTuple):
    """The widths of the bars, in pixels."""

    top: int
    bottom: int
    left: int
    right: int


def find_padding(image: Pixels) -> Padding:
    """The white bars at the top and bottom of a photo, on its left and right, or all round it.

    A bar counts if there is one opposite, and if the photo begins behind it with a straight edge:
    a dog on a white ground is not padded.

    Args:
        image: uint8 [height, width, 3].
    """
    darkest = np.minimum(np.minimum(image[..., 0], image[..., 1]), image[..., 2])
    white = darkest >= WHITE
    return Padding(*_pair(white.mean(axis=1)), *_pair(white.mean(axis=0)))


def _pair(white: NDArray[np.floating]) -> tuple[int, int]:
    """The widths of two opposite bars, from the share of white pixels in each line."""
    near, far = _bar(white), _bar(white[::-1])
    return (near, far) if near and far and near + far >= LEAST * len(white) else (0, 0)


def _bar(white: NDArray[np.floating]) -> int:
    """The width of the bar with which the lines begin; 0 if no straight edge follows it."""
    others = np.flatnonzero(white < WHOLE)
    if not len(others):
        return 0
    width = int(others[0])
    behind = white[width : width + max(4, round(BLUR * len(white)))]
    return width if behind.min() <= 1 - EDGE else 0
