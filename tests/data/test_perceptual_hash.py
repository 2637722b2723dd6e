from collections.abc import Callable

import cv2
import numpy as np
import pytest

from data.perceptual_hash import ASKED, BYTES, HASHES, INDEXED, Hashes, hash_changes
from data.photos import Pixels, decode_photo, encode_jpeg

Draw = Callable[[int], Pixels]


def apart(one: Hashes, other: Hashes) -> int:
    """Bits between two photos, as near-duplicates are looked for."""
    asked, indexed = one[ASKED, None], other[None, :INDEXED]
    there = np.bitwise_count(asked ^ indexed).sum(axis=2)
    back = np.bitwise_count(other[ASKED, None] ^ one[None, :INDEXED]).sum(axis=2)
    return int(min(there.min(), back.min()))


def crop(image: Pixels, top: float, bottom: float, left: float, right: float) -> Pixels:
    rows, columns = image.shape[:2]
    return image[
        int(rows * top) : rows - int(rows * bottom),
        int(columns * left) : columns - int(columns * right),
    ]


def turn(image: Pixels, degrees: float) -> Pixels:
    rows, columns = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    turned = cv2.warpAffine(image, matrix, (columns, rows), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, np.uint8)


@pytest.mark.parametrize(
    ("change", "most"),
    [
        (lambda image: cv2.resize(image, (97, 81), interpolation=cv2.INTER_AREA), 30),
        (lambda image: cv2.resize(image, (700, 600), interpolation=cv2.INTER_CUBIC), 30),
        (lambda image: decode_photo(encode_jpeg(image)), 10),
        (lambda image: image[:, ::-1], 30),
        (lambda image: np.clip(image * 0.8 + 20, 0, 255).astype(np.uint8), 20),
        (lambda image: crop(image, 0.04, 0.04, 0.04, 0.04), 50),
        (lambda image: crop(image, 0.05, 0, 0, 0), 50),
        (lambda image: crop(image, 0, 0.06, 0.05, 0), 50),
        (lambda image: crop(image[:, ::-1], 0, 0, 0, 0.05), 50),
        (lambda image: turn(image, 5), 50),
        (lambda image: turn(image, -7), 50),
    ],
)
def test_slight_changes_are_near(
    draw_scene: Draw, change: Callable[[Pixels], Pixels], most: int
) -> None:
    scenes = [draw_scene(seed) for seed in range(8)]
    found = [apart(hash_changes(scene), hash_changes(change(scene))) for scene in scenes]
    assert max(found) <= most


def test_unlike_photos_are_far(draw_scene: Draw) -> None:
    hashes = [hash_changes(draw_scene(seed)) for seed in range(20)]
    assert hashes[0].shape == (HASHES, BYTES)
    assert min(apart(hashes[0], other) for other in hashes[1:]) > 80


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_plain_surface_is_like_nothing(value: int) -> None:
    assert not hash_changes(np.full((60, 80, 3), value, np.uint8)).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 512, 3), (512, 2, 3)])
def test_any_shape_has_a_hash(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    assert hash_changes(pixels).shape == (HASHES, BYTES)
