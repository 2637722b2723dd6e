"""Random changes of one training photo, by OpenCV.

The distribution is that of Keras' layers. OpenCV takes half their time, and what a copy looks like
follows from the photo and the number of the copy alone: Keras' layers draw from a state, whose
order is chance where batches are made in parallel.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from components.training.augmentation_settings import AugmentationSettings

Image = NDArray[np.float32]


def augmented_view(image: Image, settings: AugmentationSettings, sha256: str, view: int) -> Image:
    """One randomly changed copy of a photo, always the same for the same photo and view.

    As Keras' layers do it, in their order: RandomFlip, RandomRotation about the centre with
    bilinear sampling of the mirrored picture, RandomContrast about each channel's mean.

    Args:
        image: float32 [height, width, 3] in [0, 255].
        settings: which changes, and how large.
        sha256: of the photo's file, hexadecimal.
        view: the number of the copy.

    Returns:
        float32 [height, width, 3] in [0, 255].
    """
    # All three are drawn whatever the settings, so that each change stays when another is
    # turned off.
    chance, turn, stretch = np.random.default_rng((int(sha256, 16), view)).random(3)
    flip = settings.horizontal_flip and chance < 0.5
    if settings.rotation:
        angle = 2 * np.pi * settings.rotation * (2 * turn - 1)
        image = _rotated(image, angle, flip=flip)
    elif flip:
        image = image[:, ::-1]
    if settings.contrast:
        image = _with_contrast(image, 1 + settings.contrast * (2 * stretch - 1))
    return np.ascontiguousarray(image)


def _rotated(image: Image, angle: float, *, flip: bool) -> Image:
    """The image, flipped if so wanted, turned by an angle in radians: one sampling for both."""
    height, width = image.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    cosine, sine = np.cos(angle), np.sin(angle)
    # From a place in the result to the place it is sampled from; a flip mirrors the latter.
    source = np.array(
        [[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y]]
    )
    if flip:
        source[0] = np.array([0, 0, width - 1]) - source[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(image, source, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT),
        np.float32,
    )


def _with_contrast(image: Image, factor: float) -> Image:
    """(x - mean) * factor + mean in each channel, clipped to [0, 255]."""
    means = np.array(cv2.mean(image)[:3])
    linear = np.column_stack([np.eye(3) * factor, means * (1 - factor)])
    changed = np.asarray(cv2.transform(image, linear), np.float32)
    return np.clip(changed, 0, 255, out=changed)
