from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.errors import ComponentError
from components.model.backbones.efficientnet_lite0 import LITE
from components.model.imagenet_head import DOGS, DOUBTFUL, class_names, dog_share, find_head
from components.model.photo_features import photo_features
from data.photos import prepare_photo

LITE0 = "efficientnet_lite0"


def test_the_head_says_what_the_whole_network_says() -> None:
    whole = LITE.build(include_top=True)
    LITE.assign_weights(whole, LITE.arrays())
    pooled = keras.Model(whole.input, whole.get_layer("avg_pool").output)
    images = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)
    wanted = tf.nn.softmax(whole(images, training=False)).numpy()
    found = find_head(LITE0, "imagenet").probabilities(pooled(images, training=False).numpy())
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_dogs_are_counted_from_the_chihuahua_to_the_mexican_hairless() -> None:
    names = class_names()
    assert len(names) == 1000
    assert names[DOGS[0]] == "Chihuahua"
    assert names[DOGS[-1]] == "Mexican hairless"
    assert names[269] == "timber wolf"
    assert names[999] == "toilet tissue"
    probabilities = np.zeros((3, 1000), np.float32)
    probabilities[0, [150, 269]] = 0.5
    probabilities[1, [151, 268]] = 0.5
    probabilities[2, [200, 999]] = 0.25, 0.75
    assert dog_share(probabilities).tolist() == [0, 1, 0.25]


@pytest.mark.parametrize(
    ("backbone", "weights", "message"),
    [
        (LITE0, "random", "weights 'random' come without a head"),
        (LITE0, "mine.weights.h5", "weights 'mine.weights.h5' come without a head"),
        ("tiny", "imagenet", "backbone tiny has no imagenet weights"),
    ],
)
def test_weights_without_a_head_are_named(backbone: str, weights: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        find_head(backbone, weights)


def test_the_head_of_b0_is_that_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(**arguments: object) -> keras.Model:
        asked.append(arguments)
        image = keras.layers.Input([1280])
        return keras.Model(image, keras.layers.Dense(1000, name="predictions")(image))

    monkeypatch.setattr(keras.applications, "EfficientNetB0", download)
    head = find_head("efficientnet_b0", "imagenet")
    assert asked == [{"weights": "imagenet"}]
    assert head.kernel.shape == (1280, 1000)
    assert head.bias.shape == (1000,)


def test_a_head_that_cannot_be_downloaded_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def download(**arguments: object) -> keras.Model:
        raise Exception("URL fetch failure on\nhttps://x: None -- no route")

    monkeypatch.setattr(keras.applications, "EfficientNetB0", download)
    with pytest.raises(ComponentError, match=r"^the ImageNet head of efficientnet_b0: URL fetch"):
        find_head("efficientnet_b0", "imagenet")


@pytest.mark.photos
def test_dogs_are_seen_in_photos_of_dogs(dog_photos: Path) -> None:
    files = sorted(dog_photos.rglob("*.jpg"))
    sample = files[:: max(1, len(files) // 100)]
    features = photo_features(
        [prepare_photo(file.read_bytes()).jpeg for file in sample],
        count=len(sample),
        backbone=LITE0,
        weights="imagenet",
        tell=lambda done, total: None,
    )
    shares = dog_share(find_head(LITE0, "imagenet").probabilities(features))
    assert (shares >= DOUBTFUL).mean() > 0.93
