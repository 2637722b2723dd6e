from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import layers

from components.errors import ComponentError
from components.model.classifier import InferenceOnly
from components.model.folding import FoldedConvolution, fold_batch_normalization
from components.model.freezing import freeze_boundary, unfreeze_last
from components.model.weights import build_backbone

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)
PIXELS = np.random.default_rng(1).normal(size=(4, 9, 9, 6)).astype(np.float32)

Convolution = Callable[[keras.KerasTensor], keras.KerasTensor]


def small(convolution: Convolution, *, trainable: bool = True) -> keras.Model:
    """A convolution between two activations, its BatchNormalization frozen and not trivial."""
    pixels = keras.Input([9, 9, 6])
    x = layers.BatchNormalization(name="bn")(convolution(layers.ReLU()(pixels)))
    model = keras.Model(pixels, layers.Activation("silu")(x))
    rng = np.random.default_rng(2)
    bn = model.get_layer("bn")
    bn.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in bn.weights])
    model.trainable = trainable
    bn.trainable = False
    return model


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize(
    "convolution",
    [
        lambda: layers.Conv2D(5, 1, bias_initializer="ones"),
        lambda: layers.Conv2D(5, 1, use_bias=False),
        lambda: layers.Conv2D(5, 1, strides=2),
        lambda: layers.Conv2D(5, 3, padding="same", bias_initializer="ones"),
        lambda: layers.DepthwiseConv2D(3, padding="same", bias_initializer="ones"),
        lambda: layers.DepthwiseConv2D(5, strides=2, use_bias=False),
    ],
)
def test_the_function_stays_the_same(
    convolution: Callable[[], Convolution], trainable: bool
) -> None:
    model = small(convolution(), trainable=trainable)
    folded = fold_batch_normalization(model)
    assert [type(layer) for layer in folded.layers].count(FoldedConvolution) == 1
    assert not [x for x in folded.layers if isinstance(x, layers.BatchNormalization)]
    np.testing.assert_allclose(folded(PIXELS), model(PIXELS, training=False), rtol=1e-4, atol=1e-5)


def test_training_it_trains_the_model_it_comes_from() -> None:
    """As without folding: by the gradient of the convolution's own kernel."""
    targets = np.random.default_rng(3).normal(size=(4, 9, 9, 5))
    plain = small(layers.Conv2D(5, 1, name="conv"))
    origin = small(layers.Conv2D(5, 1, name="conv"))
    origin.set_weights(plain.get_weights())
    folded = fold_batch_normalization(origin)
    before = plain.get_layer("conv").get_weights()
    for model in (plain, folded):
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        model.fit(PIXELS, targets, epochs=3, verbose=0)
    trained = plain.get_layer("conv").get_weights()
    assert not np.allclose(trained[0], before[0], atol=1e-3)
    for weight, same in zip(origin.get_layer("conv").get_weights(), trained, strict=True):
        np.testing.assert_allclose(weight, same, rtol=1e-4, atol=1e-6)


def test_a_frozen_convolution_is_kept_as_it_was() -> None:
    model = small(layers.Conv2D(5, 1, name="conv"), trainable=False)
    folded = fold_batch_normalization(model)
    assert folded.trainable_variables == []
    before = folded.predict(PIXELS, verbose=0)
    model.get_layer("conv").set_weights([0 * w for w in model.get_layer("conv").get_weights()])
    np.testing.assert_array_equal(folded.predict(PIXELS, verbose=0), before)


@pytest.mark.parametrize(
    "name", ["tiny", "efficientnet_lite0", "efficientnet_lite2", "efficientnet_b0"]
)
def test_each_backbone_is_folded_whole(name: str) -> None:
    backbone, _ = build_backbone(name, "random")
    unfreeze_last(backbone, 30)
    boundary = freeze_boundary(backbone, 30)
    trunk = keras.Model(backbone.input, boundary)
    activations = trunk(IMAGES, training=False)
    folded_trunk = InferenceOnly(fold_batch_normalization(trunk))
    deviation = np.abs(folded_trunk(IMAGES) - activations).max()
    assert deviation <= 1e-5 * np.abs(activations).max()

    tail = fold_batch_normalization(keras.Model(boundary, backbone.output))
    expected = backbone(IMAGES, training=False)
    # Also in training mode: drop-connect stays off.
    deviation = np.abs(InferenceOnly(tail)(activations, training=True) - expected).max()
    assert deviation <= 1e-5 * np.abs(expected).max()
    assert {id(x) for x in tail.trainable_variables} == {
        id(x) for x in backbone.trainable_variables
    }


def test_what_cannot_be_folded_is_named() -> None:
    model = small(layers.Conv2D(5, 1))
    model.get_layer("bn").trainable = True
    with pytest.raises(ComponentError, match="bn cannot be folded"):
        fold_batch_normalization(model)
    model = small(layers.ReLU())
    with pytest.raises(ComponentError, match="bn cannot be folded"):
        fold_batch_normalization(model)


def test_a_convolution_that_others_read_too_is_not_folded() -> None:
    pixels = keras.Input([9, 9, 6])
    convolved = layers.Conv2D(6, 1)(pixels)
    normalized = layers.BatchNormalization(name="bn", trainable=False)(convolved)
    for outputs in (layers.Add()([convolved, normalized]), [convolved, normalized]):
        with pytest.raises(ComponentError, match="bn cannot be folded"):
            fold_batch_normalization(keras.Model(pixels, outputs))
