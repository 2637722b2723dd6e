"""The features of a record, and the splits.

The keys follow the convention of TensorFlow's image datasets (`image/encoded`,
`image/class/text`); the suffix `_xf` marks a transformed feature, as in the TFX templates.
"""

IMAGE = "image/encoded"
"""JPEG bytes: RGB, upright, longest side at most 512 pixels."""
FILENAME = "image/filename"
LABEL = "image/class/text"
SHA256 = "image/sha256"
"""Hexadecimal SHA-256 of the photo file's bytes."""
GROUP = "image/group"
"""Photos of one group are copies of each other and live in one split."""
BRIGHTNESS = "image/brightness"
"""Mean luma of the upright photo at full size, 0 (black) to 255 (white)."""
WIDTH = "image/width"
"""Pixels of the JPEG in the record, as HEIGHT: of larger photos, the model sees no more either."""
HEIGHT = "image/height"
ALL = (IMAGE, FILENAME, LABEL, SHA256, GROUP, BRIGHTNESS, WIDTH, HEIGHT)
"""Every feature of a record."""

IMAGE_XF = "image_xf"
"""float32 [224, 224, 3] in [0, 255]."""
LABEL_XF = "label_xf"
"""int64 scalar: the position of the label in the class names."""

TRAIN, VAL, TEST = SPLITS = ("train", "val", "test")
