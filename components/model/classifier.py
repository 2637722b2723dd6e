"""The classifier: a backbone with a pooled softmax head, whole or from the freeze boundary on."""

from dataclasses import dataclass

import keras

from components.model.backbone import WeightsOrigin
from components.model.folding import fold_batch_normalization
from components.model.settings import ModelSettings
from components.model.weights import build_backbone
from data.contract.images import IMAGE_SIDE


class InferenceOnly(keras.layers.Layer):
    """A model that stays in inference mode inside another one, even while that is trained.

    Calling it with `training=False` is not enough: a functional model of Keras 3 hands its own
    `training` to every layer, whatever the layer was called with.
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name=model.name)
        self.model = model

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """The model's output."""
        return self.model(inputs, training=False)


@dataclass(frozen=True)
class Classifier:
    """One set of weights with several entry points.

    The backbone is always in inference mode: BatchNormalization keeps ImageNet's
    statistics (https://keras.io/guides/transfer_learning) and drop-connect stays off.
    """

    model: keras.Model
    """The whole: float32 [N, 224, 224, 3] in [0, 255] to probabilities float32 [N, classes]."""
    backbone: keras.Model
    """Pixels to top features, float32 [N, height, width, features]."""
    head: keras.Model
    """Pooled top features, float32 [N, features], to probabilities."""
    origin: WeightsOrigin
    """Where the backbone's weights come from."""

    def tail(self, boundary_layer: str) -> keras.Model:
        """Builds the model from the freeze boundary on, sharing the variables.

        BatchNormalization is folded into the convolutions, and what is frozen at the time of the
        call becomes constant: see `fold_batch_normalization`.

        Args:
            boundary_layer: the name of a layer, from `boundary_layer_name`.

        Returns:
            The layer's output, float32 [N, height, width, channels], to probabilities.
        """
        tensor = self.backbone.get_layer(boundary_layer).output
        folded = fold_batch_normalization(keras.Model(tensor, self.backbone.output, name="tail"))
        activations = keras.Input(tensor.shape[1:], name="spatial")
        features = keras.layers.GlobalAveragePooling2D()(InferenceOnly(folded)(activations))
        return keras.Model(activations, self.head(features))


def build_classifier(settings: ModelSettings, classes: int) -> Classifier:
    """Builds the classifier.

    Args:
        settings: one backbone, weights and dropout, `auto` resolved.
        classes: how many classes.

    Raises:
        ComponentError: the weights are not available.
    """
    (name,) = settings.backbones
    backbone, origin = build_backbone(name, settings.weights)
    features = keras.Input([backbone.output.shape[-1]], name="features")
    x = keras.layers.Dropout(settings.dropout, name="dropout")(features)
    x = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    head = keras.Model(features, x, name="head")

    image = keras.Input([IMAGE_SIDE, IMAGE_SIDE, 3], name="image")
    x = InferenceOnly(backbone)(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return Classifier(keras.Model(image, head(x), name="dog_emotion"), backbone, head, origin)
