import keras
import numpy as np
import pytest

from components.errors import ComponentError
from components.model.folding import fold_batch_normalization
from components.model.freezing import freeze_boundary, unfreeze_last
from components.model.weights import build_backbone


@pytest.fixture(scope="module")
def b0() -> keras.Model:
    return build_backbone("efficientnet_b0", "random")[0]


@pytest.fixture(scope="module")
def imagenet_lite0() -> keras.Model:
    return build_backbone("efficientnet_lite0", "imagenet")[0]


@pytest.fixture
def tiny() -> keras.Model:
    return build_backbone("tiny", "random")[0]


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3))
    return pixels.astype(np.float32)


def trainable_names(model: keras.Model) -> list[str]:
    return [variable.path for variable in model.trainable_variables]


def producer(model: keras.Model, tensor: keras.KerasTensor) -> str:
    return next(layer.name for layer in model.layers if layer.output is tensor)


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


def test_b0_trains_nothing_and_then_its_tail(b0: keras.Model) -> None:
    unfreeze_last(b0, 0)
    assert trainable_names(b0) == []
    unfreeze_last(b0, 30)
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
    unfreeze_last(b0, 0)
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
    unfreeze_last(imagenet_lite0, 30)
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


def test_tiny_is_cut_before_its_last_thirty_layers(tiny: keras.Model, photos: np.ndarray) -> None:
    assert producer(tiny, freeze_boundary(tiny, 30)) == "stem3_pool"
    assert_cut_in_two_agrees(tiny, photos, 30, channels=64)
    unfreeze_last(tiny, 30)
    assert len(tiny.trainable_variables) == 10


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
        unfreeze_last(tiny, unfreeze_layers)
        tail = keras.Model(freeze_boundary(tiny, unfreeze_layers), tiny.output)
        assert trainable_names(tail) == trainable_names(tiny)
        assert trainable_names(fold_batch_normalization(tail)) == trainable_names(tiny)


def test_batch_statistics_stay_when_everything_is_unfrozen(
    tiny: keras.Model, photos: np.ndarray
) -> None:
    unfreeze_last(tiny, len(tiny.layers))
    before = [variable.numpy() for variable in tiny.non_trainable_variables]
    tiny(photos, training=True)
    for variable, value in zip(tiny.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("unfreeze_layers", [-1, 45])
def test_a_number_of_layers_it_lacks_is_named(tiny: keras.Model, unfreeze_layers: int) -> None:
    message = f"unfreeze_layers {unfreeze_layers}: tiny has 44 layers, give 0 to 44"
    with pytest.raises(ComponentError, match=message):
        unfreeze_last(tiny, unfreeze_layers)
    with pytest.raises(ComponentError, match=message):
        freeze_boundary(tiny, unfreeze_layers)
