from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.errors import ComponentError
from components.model.backbone import WeightsOrigin
from components.model.classifier import build_classifier
from components.model.freezing import boundary_layer_name, unfreeze_last
from components.model.settings import ModelSettings

TINY = ModelSettings(backbone="tiny", weights="random", dropout=0.5)
B0 = ModelSettings(backbone="efficientnet_b0", weights="random")
PHOTOS = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype(np.float32)


def test_photos_become_probabilities() -> None:
    classifier = build_classifier(TINY, classes=5)
    probabilities = classifier.model.predict(PHOTOS, verbose=0)
    assert probabilities.shape == (2, 5)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert classifier.origin == WeightsOrigin("random", "none")


def test_the_head_pools_drops_out_and_is_a_softmax() -> None:
    classifier = build_classifier(TINY, classes=3)
    features = classifier.backbone.predict(PHOTOS, verbose=0).mean(axis=(1, 2))
    kernel, bias = classifier.head.get_layer("probabilities").get_weights()
    exponentials = np.exp(features @ kernel + bias)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.model.predict(PHOTOS, verbose=0), expected, rtol=1e-4)
    np.testing.assert_allclose(classifier.head.predict(features, verbose=0), expected, rtol=1e-4)
    assert classifier.head.get_layer("dropout").rate == 0.5


@pytest.mark.parametrize("backbone_name", ["tiny", "efficientnet_lite0"])
def test_training_keeps_the_backbone_in_inference_mode(
    backbone_name: Literal["tiny", "efficientnet_lite0"],
) -> None:
    """Even when it is trainable: neither batch statistics nor drop-connect."""
    settings = ModelSettings(backbone=backbone_name, weights="random", dropout=0.0)
    classifier = build_classifier(settings, classes=3)
    model, backbone = classifier.model, classifier.backbone
    before = [weight.numpy() for weight in backbone.weights]
    expected = model(PHOTOS, training=False)
    np.testing.assert_allclose(model(PHOTOS, training=True), expected, rtol=1e-5)
    for weight, same in zip(backbone.weights, before, strict=True):
        np.testing.assert_array_equal(weight, same)


def test_weights_that_are_not_available_are_named() -> None:
    with pytest.raises(ComponentError, match="backbone tiny has no imagenet weights"):
        build_classifier(ModelSettings(backbone="tiny", weights="imagenet"), classes=2)


def weights_by_name(model: keras.Model) -> dict[str, np.ndarray]:
    return {weight.path: weight.numpy() for weight in model.weights}


def test_b0_trains_what_each_phase_may_and_survives_the_export(
    transform: Any, export_plainly: Any, records: dict[str, list[bytes]], tmp_path: Path
) -> None:
    classifier = build_classifier(B0, classes=4)
    model, backbone = classifier.model, classifier.backbone
    assert model.count_params() == 4_049_571 + 1280 * 4 + 4  # Keras' count for no top, and ours
    batch = tf.data.Dataset.from_tensors((PHOTOS, np.array([0, 1])))
    boundary = boundary_layer_name(backbone, B0.unfreeze_layers)
    assert boundary == "block6c_add"
    cut = keras.Model(backbone.input, backbone.get_layer(boundary).output)

    def moved_by(layers: int) -> set[str]:
        """Trains the last layers on photos, and then the same from the boundary on."""
        before = weights_by_name(model)
        unfreeze_last(backbone, layers)
        activations = tf.data.Dataset.from_tensors((cut(PHOTOS, training=False), [0, 1]))
        for fitted, data in ((model, batch), (classifier.tail(boundary), activations)):
            fitted.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
            fitted.fit(data, verbose=0)
        after = weights_by_name(model)
        return {path for path in before if not np.array_equal(before[path], after[path])}

    head = {"probabilities/kernel", "probabilities/bias"}
    assert moved_by(0) == head
    last = [
        layer
        for layer in backbone.layers[-30:]
        if not isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert last[0].name == "block6d_expand_activation"
    assert moved_by(30) == head | {weight.path for layer in last for weight in layer.weights}

    export_plainly(classifier, tmp_path / "exported")
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    examples = records["test"][:2]
    layer = transform.transform_features_layer()
    pixels = layer(tf.io.parse_example(examples, transform.raw_feature_spec()))["image_xf"]
    np.testing.assert_allclose(
        exported.signatures["serving_examples"](tf.constant(examples))["probabilities"],
        model(pixels, training=False),
        atol=1e-5,
    )
