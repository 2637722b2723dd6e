"""The sizes of pictures."""

IMAGE_SIDE = 224
"""Pixels a side of what the backbones take: EfficientNetB0's own size."""

MAX_FILE_PIXELS = 100_000_000
"""Of a photo file that is read here: decoding takes 300 MB, one photo at a time."""

MAX_REQUEST_PIXELS = 50_000_000
"""Of a photo in a request, where several are decoded at once: a telephone's 48 million pass, and
each takes 150 MB at the most."""
