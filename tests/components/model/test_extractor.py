from typing import Any

import keras
import numpy as np
import pytest

from components.errors import ComponentError
from components.model.extractor import TOLERANCE, Extractor, activation_shapes
from components.model.freezing import boundary_layer_name
from components.model.weights import build_backbone

Array = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(scope="module")
def photos() -> Array:
    return np.random.default_rng(0).uniform(0, 255, (3, 224, 224, 3)).astype(np.float32)


@pytest.fixture
def tiny() -> keras.Model:
    return build_backbone("tiny", "random")[0]


def by_keras(backbone: keras.Model, boundary: str, photos: Array) -> tuple[Array, Array]:
    cut = backbone.get_layer(boundary).output
    activations, top = keras.Model(backbone.input, [cut, backbone.output])(photos, training=False)
    return activations.numpy(), keras.layers.GlobalAveragePooling2D()(top).numpy()


def relative_deviation(found: Any, wanted: Array) -> float:
    return float(np.abs(found.numpy() - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize(
    ("name", "weights", "boundary", "channels", "pooled_size"),
    [
        ("tiny", "random", "stem3_pool", 64, 64),
        ("efficientnet_lite0", "imagenet", "block6b_add", 192, 1280),
        ("efficientnet_lite1", "imagenet", "block6c_add", 192, 1280),
        ("efficientnet_lite2", "imagenet", "block6c_add", 208, 1280),
        ("efficientnet_b0", "random", "block6c_add", 192, 1280),
    ],
)
def test_the_activations_are_those_of_keras_and_of_the_photo_alone(
    name: str, weights: str, boundary: str, channels: int, pooled_size: int, photos: Array
) -> None:
    backbone, _ = build_backbone(name, weights)
    assert boundary_layer_name(backbone, 30) == boundary
    assert activation_shapes(backbone, boundary) == ((7, 7, channels), pooled_size)
    extractor = Extractor(backbone, boundary)
    found = extractor(photos)
    assert [tuple(each.shape) for each in found] == [(3, 7, 7, channels), (3, pooled_size)]
    wanted = by_keras(backbone, boundary, photos)
    deviation = max(map(relative_deviation, found, wanted))
    assert deviation < 1e-5
    assert extractor.check(backbone, photos) == pytest.approx(deviation, rel=0.5, abs=1e-7)
    # A canary: what an earlier run has computed in another batch is the same to the last bit.
    for alone, among in zip(extractor(photos[1:2]), found, strict=True):
        np.testing.assert_array_equal(alone, among[1:2])


def test_any_number_of_photos(tiny: keras.Model, photos: Array) -> None:
    extractor = Extractor(tiny, "stem3_pool")
    whole, _ = extractor(photos)
    one, _ = extractor(photos[:1])
    np.testing.assert_allclose(one, whole[:1], atol=1e-5)


@pytest.mark.parametrize("unfreeze_layers", [1, 6, 7, 31, 33])
def test_the_boundary_can_be_anywhere(
    tiny: keras.Model, photos: Array, unfreeze_layers: int
) -> None:
    boundary = boundary_layer_name(tiny, unfreeze_layers)
    assert Extractor(tiny, boundary).check(tiny, photos[:1]) < TOLERANCE


def test_the_weights_are_constants_and_the_backbone_is_frozen(
    tiny: keras.Model, photos: Array
) -> None:
    extractor = Extractor(tiny, "stem3_pool")
    assert not tiny.trainable_variables
    before = [each.numpy() for each in extractor(photos)]
    tiny.set_weights([np.zeros_like(array) for array in tiny.get_weights()])
    for found, wanted in zip(extractor(photos), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_layer_that_is_not_there_is_named(tiny: keras.Model) -> None:
    with pytest.raises(ComponentError, match="'block9z_add' is not a layer of tiny: take"):
        Extractor(tiny, "block9z_add")
    with pytest.raises(ComponentError, match="'block9z_add' is not a layer of tiny: take"):
        activation_shapes(tiny, "block9z_add")


def test_a_function_other_than_that_of_keras_is_refused(tiny: keras.Model, photos: Array) -> None:
    extractor = Extractor(tiny, "stem3_pool")
    tiny.set_weights([1.001 * array for array in tiny.get_weights()])
    with pytest.raises(ComponentError, match=r"tiny deviate from Keras' by 0\.0\d+ of the largest"):
        extractor.check(tiny, photos)


def test_weights_that_are_not_numbers_are_refused(tiny: keras.Model, photos: Array) -> None:
    # In the last layer: a ReLU before a maximum may lose what is not a number.
    tiny.get_layer("block5_project_bn").gamma.assign(np.full(64, np.nan))
    with pytest.raises(ComponentError, match="deviate from Keras' by nan of the largest"):
        Extractor(tiny, "stem3_pool").check(tiny, photos)
