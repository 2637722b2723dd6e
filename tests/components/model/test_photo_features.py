from collections.abc import Iterator

import keras
import numpy as np
import pytest

from components.errors import ComponentError
from components.model.photo_features import photo_features
from components.model.preprocessing import decode_and_fit
from components.model.weights import build_backbone
from data.drawn_dogs import EXPRESSIONS, draw_photo


def photos(count: int) -> Iterator[bytes]:
    rng, labels = np.random.default_rng(0), list(EXPRESSIONS)
    for index in range(count):
        yield draw_photo(labels[index % len(labels)], rng)


@pytest.mark.parametrize("count", [1, 16, 83])
def test_the_features_are_those_of_keras_in_the_order_of_the_photos(count: int) -> None:
    told: list[tuple[int, int]] = []
    found = photo_features(
        photos(count),
        count=count,
        backbone="efficientnet_lite0",
        weights="imagenet",
        tell=lambda done, total: told.append((done, total)),
    )
    backbone, _ = build_backbone("efficientnet_lite0", "imagenet")
    pooled = keras.layers.GlobalAveragePooling2D()(backbone.output)
    images = np.stack([decode_and_fit(photo) for photo in photos(count)])
    wanted = keras.Model(backbone.input, pooled).predict(images, verbose=0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert told[-1] == (count, count)
    assert told == sorted(told)


def test_photos_are_read_as_they_are_needed() -> None:
    read = 0
    ahead: list[int] = []

    def counted() -> Iterator[bytes]:
        nonlocal read
        for photo in photos(160):
            read += 1
            yield photo

    photo_features(
        counted(),
        count=160,
        backbone="tiny",
        weights="random",
        tell=lambda done, total: ahead.append(read - done),
    )
    assert len(ahead) == 10
    assert max(ahead) <= 3 * 16


def test_weights_whose_features_are_not_finite_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model, _ = build_backbone("tiny", "random")
    model.set_weights([np.full_like(array, np.nan) for array in model.get_weights()])
    file = str(tmp_path_factory.mktemp("weights") / "nan.weights.h5")
    model.save_weights(file)
    with pytest.raises(ComponentError, match="what tiny computes with them is not finite; name"):
        photo_features(photos(2), count=2, backbone="tiny", weights=file, tell=lambda *_: None)
