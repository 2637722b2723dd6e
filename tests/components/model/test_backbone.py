import hashlib
import socket
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.utils import file_utils

from components.errors import ComponentError
from components.model import backbone as backbones
from components.model.backbone import build_backbone, freeze, freeze_boundary
from components.model.backbones import lite0
from components.model.folding import fold_batch_normalization
from components.model.weights import B0, LITE0, TINY


@pytest.fixture(scope="module")
def b0() -> keras.Model:
    return build_backbone(B0, "random")[0]


@pytest.fixture(scope="module")
def imagenet_lite0() -> keras.Model:
    model, origin = build_backbone(LITE0, "imagenet")
    assert origin.source == "efficientnet-lite0-57934424.pth"
    assert origin.sha256 == lite0.SHA256
    return model


@pytest.fixture
def tiny() -> keras.Model:
    return build_backbone(TINY, "random")[0]


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3))
    return pixels.astype(np.float32)


def trainable_names(model: keras.Model) -> list[str]:
    return [variable.path for variable in model.trainable_variables]


def producer(model: keras.Model, tensor: keras.KerasTensor) -> str:
    return next(layer.name for layer in model.layers if layer.output is tensor)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def assert_cut_in_two_agrees(
    model: keras.Model, photos: np.ndarray, unfreeze_layers: int, channels: int
) -> None:
    boundary = freeze_boundary(model, unfreeze_layers)
    trunk = keras.Model(model.input, boundary)
    tail = keras.Model(boundary, model.output)
    whole = model(photos, training=False).numpy()
    assert whole.shape == (2, 7, 7, channels)
    assert np.isfinite(whole).all()
    assert whole.std() > 0
    np.testing.assert_array_equal(tail(trunk(photos, training=False), training=False), whole)
    # The models on either side leave the backbone's own graph as it was.
    assert freeze_boundary(model, unfreeze_layers) is boundary


def test_b0_is_built_whole(b0: keras.Model) -> None:
    assert len(b0.layers) == 237
    assert b0.count_params() == 4_049_571
    assert b0.input_shape == (None, 224, 224, 3)
    assert b0.output_shape == (None, 7, 7, 1280)


def test_b0_trains_nothing_and_then_its_tail(b0: keras.Model) -> None:
    freeze(b0, 0)
    assert trainable_names(b0) == []
    freeze(b0, 30)
    assert trainable_names(b0) == [
        "block6d_dwconv/kernel",
        "block6d_se_reduce/kernel",
        "block6d_se_reduce/bias",
        "block6d_se_expand/kernel",
        "block6d_se_expand/bias",
        "block6d_project_conv/kernel",
        "block7a_expand_conv/kernel",
        "block7a_dwconv/kernel",
        "block7a_se_reduce/kernel",
        "block7a_se_reduce/bias",
        "block7a_se_expand/kernel",
        "block7a_se_expand/bias",
        "block7a_project_conv/kernel",
        "top_conv/kernel",
    ]
    trained = sum(int(np.prod(variable.shape)) for variable in b0.trainable_variables)
    assert trained == 1_483_360
    freeze(b0, 0)
    assert trainable_names(b0) == []


def test_b0_is_cut_before_block6d(b0: keras.Model, photos: np.ndarray) -> None:
    boundary = freeze_boundary(b0, 30)
    assert boundary.shape == (None, 7, 7, 192)
    assert producer(b0, boundary) == "block6c_add"
    assert_cut_in_two_agrees(b0, photos, 30, channels=1280)


def test_lite0_is_cut_before_block6c(imagenet_lite0: keras.Model, photos: np.ndarray) -> None:
    assert imagenet_lite0.layers[-30].name == "block6c_expand_bn"
    boundary = freeze_boundary(imagenet_lite0, 30)
    assert boundary.shape == (None, 7, 7, 192)
    assert producer(imagenet_lite0, boundary) == "block6b_add"
    assert_cut_in_two_agrees(imagenet_lite0, photos, 30, channels=1280)


def test_lite0_trains_its_tail(imagenet_lite0: keras.Model) -> None:
    freeze(imagenet_lite0, 30)
    assert trainable_names(imagenet_lite0) == [
        "block6c_dwconv/kernel",
        "block6c_project_conv/kernel",
        "block6d_expand_conv/kernel",
        "block6d_dwconv/kernel",
        "block6d_project_conv/kernel",
        "block7a_expand_conv/kernel",
        "block7a_dwconv/kernel",
        "block7a_project_conv/kernel",
        "top_conv/kernel",
    ]


def test_lite0_of_the_package_has_the_package_weights(imagenet_lite0: keras.Model) -> None:
    # One element of the file, converted by hand.
    kernel = imagenet_lite0.get_layer("stem_conv").get_weights()[0]
    np.testing.assert_allclose(kernel[0, 0, 0, 0], -1.1103361)


def test_tiny_is_cut_before_its_last_thirty_layers(tiny: keras.Model, photos: np.ndarray) -> None:
    assert producer(tiny, freeze_boundary(tiny, 30)) == "stem3_pool"
    assert_cut_in_two_agrees(tiny, photos, 30, channels=64)
    freeze(tiny, 30)
    assert len(tiny.trainable_variables) == 10


def test_tiny_is_the_same_each_time(tiny: keras.Model) -> None:
    again, origin = build_backbone(TINY, "random")
    assert (origin.source, origin.sha256) == ("random", "none")
    for first, second in zip(tiny.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("unfreeze_layers", "layer"),
    [
        (0, "block5_add"),
        (1, "block4_add"),  # the addition needs both its branches
        (5, "block4_add"),
        (6, "block4_add"),
        (7, "block3_add"),
        (30, "stem3_pool"),
        (31, "stem3_activation"),
        (33, "stem2_pool"),  # between the convolution and its BatchNormalization
        (43, "input"),
        (44, "input"),
    ],
)
def test_a_cut_never_splits_a_residual_block(
    tiny: keras.Model, unfreeze_layers: int, layer: str
) -> None:
    assert producer(tiny, freeze_boundary(tiny, unfreeze_layers)).startswith(layer)


def test_the_tail_holds_all_that_is_trained(tiny: keras.Model) -> None:
    for unfreeze_layers in range(1, len(tiny.layers) + 1):
        freeze(tiny, unfreeze_layers)
        tail = keras.Model(freeze_boundary(tiny, unfreeze_layers), tiny.output)
        assert trainable_names(tail) == trainable_names(tiny)
        assert trainable_names(fold_batch_normalization(tail)) == trainable_names(tiny)


def test_batch_statistics_stay_when_everything_is_unfrozen(
    tiny: keras.Model, photos: np.ndarray
) -> None:
    freeze(tiny, len(tiny.layers))
    before = [variable.numpy() for variable in tiny.non_trainable_variables]
    tiny(photos, training=True)
    for variable, value in zip(tiny.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("unfreeze_layers", [-1, 45])
def test_a_number_of_layers_it_has_not_is_named(tiny: keras.Model, unfreeze_layers: int) -> None:
    message = f"unfreeze_layers {unfreeze_layers}: tiny has 44 layers, give 0 to 44"
    with pytest.raises(ComponentError, match=message):
        freeze(tiny, unfreeze_layers)
    with pytest.raises(ComponentError, match=message):
        freeze_boundary(tiny, unfreeze_layers)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet50", "random", "unknown backbone 'resnet50': choose efficientnet_b0 or"),
        (TINY, "imagenet", "backbone tiny has no imagenet weights"),
        (TINY, "noisy-student", "weights 'noisy-student': give auto, imagenet, random or a file"),
        (TINY, "gone.keras", r"weights 'gone\.keras': there is no such file"),
        (TINY, "ram://gone.keras", r"weights 'ram://gone\.keras' cannot be loaded into tiny: .+"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, weights: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        build_backbone(name, weights)


def changed_weights(model: keras.Model) -> list[np.ndarray]:
    """Fills the model with weights that no initialisation gives it."""
    random = np.random.default_rng(1)
    weights = [random.uniform(0.5, 1, array.shape) for array in model.get_weights()]
    model.set_weights(weights)
    return weights


@pytest.mark.parametrize("form", [".weights.h5", ".keras", "with a top.weights.h5"])
def test_a_file_gives_all_weights(tiny: keras.Model, tmp_path: Path, form: str) -> None:
    expected = changed_weights(tiny)
    file = tmp_path / f"tiny{form}"
    if "top" in form:
        pooled = keras.layers.GlobalAveragePooling2D()(tiny.output)
        tiny = keras.Model(tiny.input, keras.layers.Dense(4)(pooled))
    if form.endswith(".keras"):
        tiny.save(file)
    else:
        tiny.save_weights(file)
    loaded, origin = build_backbone(TINY, str(file))
    assert (origin.source, origin.sha256) == (str(file), sha256(file))
    for array, value in zip(loaded.get_weights(), expected, strict=True):
        np.testing.assert_allclose(array, value, rtol=1e-6)


def test_a_remote_file_gives_all_weights(tiny: keras.Model, tmp_path: Path) -> None:
    expected = changed_weights(tiny)
    tiny.save_weights(tmp_path / "tiny.weights.h5")
    remote = "ram://bucket/tiny.weights.h5"
    tf.io.gfile.copy(str(tmp_path / "tiny.weights.h5"), remote, overwrite=True)
    loaded, origin = build_backbone(TINY, remote)
    assert (origin.source, origin.sha256) == (remote, sha256(tmp_path / "tiny.weights.h5"))
    np.testing.assert_allclose(loaded.get_weights()[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize("form", [".weights.h5", ".h5", ".keras"])
def test_a_file_of_another_model_is_named(tmp_path: Path, form: str) -> None:
    other = keras.Sequential([keras.Input([8, 8, 3]), keras.layers.Conv2D(16, 8, use_bias=False)])
    file = tmp_path / f"other{form}"
    if form == ".weights.h5":
        other.save_weights(file)
    else:
        other.save(file)
    with pytest.raises(ComponentError, match=rf"other{form}' cannot be loaded into tiny: .+") as e:
        build_backbone(TINY, str(file))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("form", [".weights.h5", ".h5", ".keras"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_damaged_file_is_named(tmp_path: Path, form: str, content: bytes) -> None:
    file = tmp_path / f"damaged{form}"
    file.write_bytes(content)
    with pytest.raises(ComponentError, match=rf"damaged{form}' cannot be loaded into tiny: .+"):
        build_backbone(TINY, str(file))


@pytest.fixture(scope="module")
def published_b0(b0: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for the published weights: random, but for the standard deviations."""
    file: Path = tmp_path_factory.mktemp("keras") / "efficientnetb0_notop.h5"
    (layer,) = [x for x in b0.layers if isinstance(x, keras.layers.Normalization)]
    identity = layer.get_weights()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    layer.set_weights([mean, std, *identity[2:]])
    b0.save(file)
    layer.set_weights(identity)
    layer.finalize_state()
    return file


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Keras' downloads end with, the last first: a path, or an error to raise."""
    outcomes: list[Any] = []

    def get_file(*_: object, **__: object) -> str:
        assert socket.getdefaulttimeout() is not None
        if isinstance(outcomes[-1], Exception):
            raise outcomes[-1]
        return str(outcomes[-1])

    monkeypatch.setattr(file_utils, "get_file", get_file)
    monkeypatch.setattr(keras.utils, "get_file", get_file)
    monkeypatch.setattr(backbones, "b0_host_answers", lambda: True)
    return outcomes


def test_the_published_b0_file_normalises_as_keras_applications_does(
    published_b0: Path, downloads: list[Any], photos: np.ndarray
) -> None:
    downloads.append(published_b0)
    by_keras, origin = build_backbone(B0, "imagenet")
    assert origin.source == "keras.applications efficientnetb0_notop.h5"
    assert origin.sha256 == sha256(published_b0)
    by_file, _ = build_backbone(B0, str(published_b0))

    def normalised(model: keras.Model) -> np.ndarray:
        padding = model.get_layer("stem_conv_pad")
        output: np.ndarray = keras.Model(model.input, padding.input)(photos).numpy()
        return output

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    expected = (photos / 255 - mean) / std
    np.testing.assert_allclose(normalised(by_keras), expected, atol=1e-5)
    np.testing.assert_allclose(normalised(by_file), expected, atol=1e-5)
    assert producer(by_keras, freeze_boundary(by_keras, 30)) == "block6c_add"


@pytest.mark.parametrize(
    "error", [Exception("URL fetch failure on URL: None -- timed out\nmore"), TimeoutError()]
)
def test_a_failed_download_is_one_line_with_both_ways_out(
    downloads: list[Any], error: Exception
) -> None:
    downloads.append(error)
    before = socket.getdefaulttimeout()
    with pytest.raises(ComponentError, match=r"--set model\.weights=.*--set model\.backbone=") as e:
        build_backbone(B0, "imagenet")
    assert "\n" not in str(e.value)
    assert socket.getdefaulttimeout() == before


def test_no_download_is_begun_when_the_host_does_not_answer(
    downloads: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    downloads.append(AssertionError("a download was begun"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(backbones, "b0_host_answers", lambda: False)
    with pytest.raises(ComponentError, match=r"efficientnetb0_notop\.h5 cannot be reached: give"):
        build_backbone(B0, "imagenet")
