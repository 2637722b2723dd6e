"""The sizes of pictures."""

IMAGE_SIDE = 224
"""Pixels per side of what the backbones take: EfficientNetB0's own size."""

LONGEST_SIDE = 512
"""Pixels to which photos are bounded before they are stored, or sent by what is ours."""

MAX_FILE_PIXELS = 100_000_000
"""In a photo file that is read here: decoding takes 300 MB, one photo at a time."""

MAX_REQUEST_PIXELS = 50_000_000
"""In a photo of a request, where several are decoded at once: a telephone's 48 million pass, and
each takes at most 150 MB."""


def bounded_size(width: int, height: int, longest: int = LONGEST_SIDE) -> tuple[int, int]:
    """Width and height of a photo once its longest side is at most `longest` pixels."""
    scale = min(1, longest / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))
