"""Whether a photo shows what the training photos show, by how far its features lie from theirs."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

DIRECTIONS = 64
"""In which the features of the training photos vary most. With Lite0 and `KEPT` of 4,082 photos of
dogs, over ten splits 8 told 87 % of 217 photos of other things, 16 94 %, 32 95 %, 64 96 %, 128 and
256 97 %; 64 told 94 % of 217 more, and kept 98.9 % of the test photos."""
WIDEST = 1 / 8
"""The largest share of all directions that may be among them: of those that are left there must be
enough to differ in, even where a backbone has few features."""
KEPT = 0.99
"""The share of the validation photos that are to count as showing the subject. With 0.98, less than
that was kept of other photos."""

MAX_PHOTOS = 20_000
"""Training photos that are looked at: more would not change the directions."""


@dataclass(frozen=True)
class Subject:
    """What the features of photos of the subject have in common.

    Features are scaled to length 1. The distance of a photo is what is left of its features, as a
    squared length, once the mean and the `directions` are taken out: the reconstruction error of a
    principal component analysis.

    Attributes:
        mean: float32 [features].
        directions: float32 [features, D], orthonormal.
        threshold: the greatest distance that still counts as the subject.
        spread: the standard deviation of the validation photos' distances.
        val_kept: the share of the validation photos within the threshold.
    """

    BY: ClassVar[str] = "the distance from the training photos"
    """What the score rests on, in words."""

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    threshold: float
    spread: float
    val_kept: float

    def score(self, features: tf.Tensor) -> tf.Tensor:
        """How sure it is that a photo shows the subject.

        Args:
            features: pooled, of the backbone as it was before training, float32 [N, features].

        Returns:
            float32 [N] in [0, 1], 0.5 where the distance is the threshold.
        """
        distance = _distance(features, self.mean, self.directions)
        return tf.sigmoid((self.threshold - distance) / self.spread)


def fit_subject(train: NDArray[np.float32], val: NDArray[np.float32]) -> Subject:
    """Learns what the photos have in common; no photo of anything else is needed.

    Args:
        train: pooled features of the training photos, by the backbone as it was before training,
            float32 [N, features], N at least 2.
        val: those of the validation photos, which choose the threshold.
    """
    scaled = _scaled(tf.constant(train)).numpy().astype(np.float64)
    mean = scaled.mean(axis=0)
    _, axes = np.linalg.eigh((scaled - mean).T @ (scaled - mean))
    photos, width = train.shape
    most = min(DIRECTIONS, photos - 1, int(width * WIDEST))
    directions = axes[:, ::-1][:, :most].astype(np.float32)
    mean = mean.astype(np.float32)
    distances = _distance(tf.constant(val), mean, directions).numpy()
    threshold = float(np.quantile(distances, KEPT, method="higher"))
    return Subject(
        mean=mean,
        directions=directions,
        threshold=threshold,
        spread=max(float(distances.std()), float(np.finfo(np.float32).eps)),
        val_kept=float(np.mean(distances <= threshold)),
    )


def _scaled(features: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(features, axis=1)


def _distance(
    features: tf.Tensor, mean: NDArray[np.float32], directions: NDArray[np.float32]
) -> tf.Tensor:
    centred = _scaled(features) - mean
    explained = tf.matmul(centred, directions)
    return tf.reduce_sum(centred**2, axis=1) - tf.reduce_sum(explained**2, axis=1)
