from pathlib import Path

import cv2
import numpy as np
import pytest

from data.drawn_dogs import draw_photo
from data.padding import Padding, find_padding
from data.photos import Pixels, decode_photo, encode_jpeg

HEIGHT, WIDTH = 120, 160


@pytest.fixture
def photo() -> Pixels:
    pixels = np.random.default_rng(0).integers(0, 200, (HEIGHT, WIDTH, 3), np.uint8)
    return cv2.GaussianBlur(pixels, (0, 0), 3).astype(np.uint8)


def framed(photo: Pixels, top: int, bottom: int, left: int, right: int) -> Pixels:
    white = (255, 255, 255)
    bars = cv2.copyMakeBorder(photo, top, bottom, left, right, cv2.BORDER_CONSTANT, value=white)
    return np.asarray(bars, np.uint8)


@pytest.mark.parametrize("bars", [(20, 20, 0, 0), (0, 0, 30, 31), (12, 12, 12, 12), (3, 2, 0, 0)])
def test_bars_are_measured_to_the_pixel(photo: Pixels, bars: tuple[int, int, int, int]) -> None:
    assert find_padding(framed(photo, *bars)) == Padding(*bars)


def test_bars_outlive_scaling_and_jpeg(photo: Pixels) -> None:
    padded = framed(photo, 20, 20, 0, 0)
    small = cv2.resize(padded, (96, 96), interpolation=cv2.INTER_AREA).astype(np.uint8)
    bars = find_padding(decode_photo(encode_jpeg(small)))
    assert bars.top == pytest.approx(12, abs=2)
    assert bars.bottom == pytest.approx(12, abs=2)
    assert bars[2:] == (0, 0)


@pytest.mark.parametrize("bars", [(0, 0, 0, 0), (20, 0, 0, 0), (0, 0, 0, 40), (1, 1, 0, 0)])
def test_a_photo_with_no_bar_opposite_or_a_hair_of_one_is_not_padded(
    photo: Pixels, bars: tuple[int, int, int, int]
) -> None:
    assert not any(find_padding(framed(photo, *bars)))


def test_a_dog_on_a_white_ground_is_not_padded() -> None:
    studio = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    cv2.ellipse(studio, (WIDTH // 2, HEIGHT // 2), (50, 30), 0, 0, 360, (90, 60, 30), -1)
    assert not any(find_padding(studio))


@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_of_one_colour_is_not_padded(value: int) -> None:
    assert not any(find_padding(np.full((HEIGHT, WIDTH, 3), value, np.uint8)))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 50, 3), (50, 1, 3)])
def test_a_picture_of_one_line_is_not_padded(shape: tuple[int, int, int]) -> None:
    assert not any(find_padding(np.full(shape, 255, np.uint8)))


def test_drawn_dogs_are_not_padded() -> None:
    for seed in range(10):
        drawn = decode_photo(draw_photo("happy", np.random.default_rng(seed)))
        assert not any(find_padding(drawn))


@pytest.mark.photos
def test_a_third_of_the_photos_have_bars_as_a_person_would_say(dog_photos: Path) -> None:
    files = sorted(dog_photos.rglob("*.jpg"))
    sample = files[:: max(1, len(files) // 500)]
    padded = [any(find_padding(decode_photo(file.read_bytes()))) for file in sample]
    assert 0.3 < np.mean(padded) < 0.45
