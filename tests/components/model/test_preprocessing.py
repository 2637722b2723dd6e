import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from components.model.preprocessing import decode_and_fit
from components.training.photo_batches import label_counts
from data.contract import features
from data.drawn_dogs import draw_photo
from data.photos import decode_photo, prepare_photo
from pipeline.config import Config

Fit = Callable[[list[bytes]], NDArray[np.float32]]

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture(params=["eagerly", "in tf.data", "in Transform's graph"])
def fit(request: pytest.FixtureRequest) -> Fit:
    """Encoded photos to float32 [N, 224, 224, 3], in each of the ways the function is run."""
    if request.param == "eagerly":
        return lambda photos: np.stack([decode_and_fit(photo).numpy() for photo in photos])
    if request.param == "in tf.data":

        def in_tf_data(photos: list[bytes]) -> NDArray[np.float32]:
            dataset = tf.data.Dataset.from_tensor_slices(photos).map(decode_and_fit)
            return np.stack(list(dataset.as_numpy_iterator()))

        return in_tf_data
    layer = request.getfixturevalue("transform").transform_features_layer()

    def in_graph(photos: list[bytes]) -> NDArray[np.float32]:
        pixels: NDArray[np.float32] = layer({features.IMAGE: tf.constant(photos)})["image_xf"]
        return np.asarray(pixels)

    return in_graph


def encode(pixels: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    """An image file with RGB [H, W, 3] or grey [H, W] pixels."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, {"png": "PNG", "jpg": "JPEG"}.get(suffix[1:], suffix[1:]))
    return content.getvalue()


def bands(*colours: tuple[int, int, int], wide: tuple[int, ...], high: int) -> NDArray[np.uint8]:
    """Upright bands of colour side by side."""
    return np.concatenate(
        [np.full((high, w, 3), c, np.uint8) for c, w in zip(colours, wide, strict=True)], axis=1
    )


def drawn_dog(seed: int) -> NDArray[np.uint8]:
    return decode_photo(draw_photo("happy", np.random.default_rng(seed)))


def large_photo(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """A dog at a camera's size, with a sensor's noise in every pixel."""
    large = cv2.resize(drawn_dog(seed), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(seed).normal(0, 8, large.shape)
    return np.asarray(np.clip(large + noise, 0, 255), np.uint8)


def test_pixels_are_float32_from_0_to_255(fit: Fit) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    white, black = np.full((90, 70, 3), 255, np.uint8), np.zeros((224, 224, 3), np.uint8)
    pixels = fit([encode(noise), encode(white), encode(black)])
    assert pixels.dtype == np.float32
    assert pixels.shape == (3, 224, 224, 3)
    assert pixels.min() >= 0
    assert pixels.max() <= 255
    np.testing.assert_allclose(pixels[1], 255, atol=1e-3)
    np.testing.assert_array_equal(pixels[2], 0)


def test_the_centred_square_is_kept(fit: Fit) -> None:
    landscape = bands(RED, GREEN, BLUE, wide=(150, 300, 150), high=300)
    portrait = landscape.transpose(1, 0, 2)
    for pixels in fit([encode(landscape), encode(portrait)]):
        np.testing.assert_allclose(pixels, np.broadcast_to(GREEN, pixels.shape), atol=1e-3)


def test_the_square_is_scaled_alike_in_both_directions(fit: Fit) -> None:
    ring = np.zeros((400, 700, 3), np.uint8)
    cv2.circle(ring, (350, 200), 150, WHITE, -1)
    (pixels,) = fit([encode(ring)])
    inside = pixels[..., 0] > 127
    diameter = 300 * 224 / 400
    assert inside.any(axis=0).sum() == pytest.approx(diameter, abs=2)
    assert inside.any(axis=1).sum() == pytest.approx(diameter, abs=2)


def test_colours_keep_their_channels_and_places(fit: Fit) -> None:
    halves = bands(RED, BLUE, wide=(112, 112), high=224)
    (pixels,) = fit([encode(halves)])
    np.testing.assert_array_equal(pixels, halves)


def test_a_small_photo_is_enlarged(fit: Fit) -> None:
    (pixels,) = fit([encode(bands(RED, BLUE, wide=(20, 20), high=40))])
    assert pixels[112, 20].tolist() == list(RED)
    assert pixels[112, 200].tolist() == list(BLUE)


def test_grey_photos_have_three_equal_channels(fit: Fit) -> None:
    grey = drawn_dog(0)[..., 1]
    png, jpeg = fit([encode(grey), encode(grey, ".jpg")])
    for pixels in (png, jpeg):
        np.testing.assert_array_equal(pixels[..., 0], pixels[..., 1])
        np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".jpg"])
def test_every_format_gives_the_pixels_of_png(suffix: str) -> None:
    halves = bands(RED, BLUE, wide=(160, 160), high=320)
    pixels, expected = (decode_and_fit(encode(halves, each)) for each in (suffix, ".png"))
    # JPEG blurs colour over two pixels at the border and is off by a level elsewhere.
    assert np.mean(np.abs(pixels - expected)) < 1.5


@pytest.mark.parametrize(
    ("suffix", "width", "height"), [(".jpg", 3000, 2000), (".png", 2000, 3000)]
)
def test_a_large_photo_and_its_ingested_copy_come_out_alike(
    suffix: str, width: int, height: int
) -> None:
    raw = encode(large_photo(1, width, height), suffix)
    prepared = prepare_photo(raw)
    assert max(decode_photo(prepared.jpeg).shape) == 512
    difference = np.abs(decode_and_fit(raw) - decode_and_fit(prepared.jpeg))
    # The copy is scaled twice, compressed once more, and cropped at whole pixels that are six
    # times as large. Without antialiasing the noise alone makes a difference of 4 levels.
    assert difference.mean() < 2.5


def transformed_labels(transform: Any, labels: list[str]) -> list[int]:
    layer = transform.transform_features_layer()
    photo = encode(np.zeros((8, 8, 3), np.uint8))
    photos = tf.constant([photo] * len(labels))
    ids = layer({features.IMAGE: photos, features.LABEL: tf.constant(labels)})[features.LABEL_XF]
    assert ids.dtype == tf.int64
    return [int(value) for value in ids]


def test_label_ids_follow_the_configuration_and_not_the_frequencies(
    transform: Any, config: Config, split_files: dict[str, str]
) -> None:
    frequencies = label_counts(split_files["train"])
    assert [name for name, _ in Counter(frequencies).most_common()] != list(config.classes)
    assert sorted(config.classes) != list(config.classes)
    assert transformed_labels(transform, list(config.classes)) == [0, 1, 2, 3]


def test_an_unknown_label_is_minus_one(transform: Any) -> None:
    assert transformed_labels(transform, ["puzzled", "sad", "", "Sad"]) == [-1, 0, -1, -1]
