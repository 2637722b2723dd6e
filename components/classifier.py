"""The classifier: a backbone with a pooled softmax head, and what each phase trains of it."""

import keras

from components.backbone import WeightsOrigin, build_backbone
from components.preprocessing import IMAGE_SIDE
from components.settings import ModelSettings


def build_classifier(
    settings: ModelSettings, classes: int
) -> tuple[keras.Model, keras.Model, WeightsOrigin]:
    """Builds the whole model.

    The backbone is called in inference mode for good: BatchNormalization keeps ImageNet's
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
    x = backbone(image, training=False)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(settings.dropout, name="dropout")(x)
    probabilities = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name="dog_emotion"), backbone, origin
