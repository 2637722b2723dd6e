"""A trained classifier as it is exported: its layers folded and constant, in parts."""

import dataclasses
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from components.model.classifier import Classifier
from components.model.folding import fold_batch_normalization
from components.model.freezing import unfreeze_last


@dataclass(frozen=True)
class FoldedClassifier:
    """The parts, which do not see later changes of the classifier's weights.

    Attributes:
        trunk: photos, float32 [N, 224, 224, 3] in [0, 255], to the freeze boundary.
        tail: from there to the top features, float32 [N, height, width, features].
        pretrained_tail: the same with the weights from before training; the very `tail` if
            training left them alone, or if nobody needs it.
        kernel: of the layer that makes logits of the pooled top features, [features, classes].
        bias: of the same, [classes].
    """

    trunk: keras.Model
    tail: keras.Model
    pretrained_tail: keras.Model
    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]

    def with_weights_of(self, classifier: Classifier, boundary_layer: str) -> "FoldedClassifier":
        """Another training's classifier, which began with the same weights as this one."""
        other = fold_classifier(classifier, boundary_layer, None)
        if self.pretrained_tail is self.tail:
            return other
        return dataclasses.replace(other, pretrained_tail=self.pretrained_tail)


def fold_classifier(
    classifier: Classifier, boundary_layer: str, pretrained: keras.Model | None
) -> FoldedClassifier:
    """Takes a trained classifier apart.

    Args:
        classifier: is left with a frozen backbone.
        boundary_layer: the name of the layer that the trunk ends with.
        pretrained: the backbone as it was before training, if its tail is needed and differs.
    """
    backbone = classifier.backbone
    unfreeze_last(backbone, 0)
    # By its place: where everything is trained it is the input, whose name Keras makes up.
    place = [layer.name for layer in backbone.layers].index(boundary_layer)
    boundary = backbone.layers[place].output
    tail = _fold_tail(backbone, place)
    kernel, bias = classifier.head.get_layer("probabilities").get_weights()
    return FoldedClassifier(
        trunk=fold_batch_normalization(keras.Model(backbone.input, boundary, name="trunk")),
        tail=tail,
        pretrained_tail=_fold_tail(pretrained, place) if pretrained else tail,
        kernel=kernel,
        bias=bias,
    )


def _fold_tail(backbone: keras.Model, place: int) -> keras.Model:
    unfreeze_last(backbone, 0)
    boundary = backbone.layers[place].output
    return fold_batch_normalization(keras.Model(boundary, backbone.output, name="tail"))
