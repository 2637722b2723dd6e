"""What an ensemble knows, as the targets of one classifier: https://arxiv.org/abs/1503.02531."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from components.model.folded import FoldedClassifier
from components.training.answering import Trained

SHARE = 0.5
"""Of a target, what the ensemble says; the rest is the label, which so stays the likeliest class,
by which Keras finds the weight of a photo."""


def soft_targets(
    teachers: Sequence[Trained], models: Sequence[FoldedClassifier], temperature: float
) -> NDArray[np.float32]:
    """The label of each view of each photo, mixed with what the ensemble says of the same view.

    Args:
        teachers: the members of the ensemble, trained on cached activations of the same photos.
        models: the same, folded.
        temperature: what the mean logits are divided by: their calibration on photos that they
            have not learnt from, as they are too sure of those that they have.

    Returns:
        float32 [views, photos, classes], each row a distribution, in the order of
        `recorded_batches`.
    """
    logits = []
    for teacher, model in zip(teachers, models, strict=True):
        if teacher.recipe.recall is None:
            raise ValueError("only what cached activations recall can be taught")
        recalled = teacher.recipe.recall(model)
        logits.append([features @ model.kernel + model.bias for features, _ in recalled])
    said = softmax(np.mean(logits, axis=0) / temperature, axis=-1)
    ids = np.stack([labels for _, labels in recalled])
    labels = np.eye(said.shape[-1], dtype=np.float32)[ids]
    targets: NDArray[np.float32] = ((1 - SHARE) * labels + SHARE * said).astype(np.float32)
    return targets
