"""The classifier: a backbone with a pooled softmax head, and what each phase trains of it."""

import keras

from components.backbone import WeightsOrigin, build_backbone
from components.preprocessing import IMAGE_SIDE
from components.settings import ModelSettings


class InferenceOnly(keras.layers.Layer):
    """A model that, within another, stays in inference mode when that one is trained.

    Calling it with `training=False` is not enough: a functional model of Keras 3 hands its own
    `training` to every layer, whatever the layer was called with.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self.model = model

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """The model's output."""
        return self.model(inputs, training=False)


def build_classifier(
    settings: ModelSettings, classes: int
) -> tuple[keras.Model, keras.Model, WeightsOrigin]:
    """Builds the whole model.

    The backbone is in inference mode for good: BatchNormalization keeps ImageNet's
    statistics (https://keras.io/guides/transfer_learning) and drop-connect stays off.

    Args:
        settings: backbone, weights and dropout, `auto` resolved.
        classes: how many classes.

    Returns:
        The classifier, float32 [N, 224, 224, 3] in [0, 255] to probabilities float32
        [N, classes]; the backbone within it; where the backbone's weights come from.

    Raises:
        ComponentError: the weights cannot be had.
    """
    backbone, origin = build_backbone(settings.backbone, settings.weights)
    image = keras.Input([IMAGE_SIDE, IMAGE_SIDE, 3], name="image")
    x = InferenceOnly(backbone)(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(settings.dropout, name="dropout")(x)
    probabilities = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name="dog_emotion"), backbone, origin
