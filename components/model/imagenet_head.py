"""What a backbone saw in a photo when it was still a classifier of ImageNet's thousand classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from components.errors import ComponentError
from components.model.weights import IMAGENET, imagenet_of

DOGS = range(151, 269)
"""ImageNet's classes of dogs. Wolves, dingoes, wild dogs and foxes follow them."""

DOUBTFUL = 0.1
"""Below this share of the probability, dogs are not what the head sees. With Lite0 and 4,082 photos
of dogs, 87 are below it, half of which do show none; of 434 photos without a dog 99.5 % are. No dog
among the five likeliest classes, the other usual rule, tells as many of the former and 98.2 % of
the latter."""


@dataclass(frozen=True)
class ImageNetHead:
    """The layer that tells ImageNet's classes by a backbone's pooled features.

    Attributes:
        kernel: float32 [features, 1000].
        bias: float32 [1000].
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of ImageNet's classes.

        Args:
            features: pooled features, float32 [N, features].

        Returns:
            float32 [N, 1000].
        """
        found: NDArray[np.float32] = softmax(features @ self.kernel + self.bias, axis=1)
        return found


def find_head(backbone: str, weights: str) -> ImageNetHead:
    """The head that belongs to a backbone's weights.

    Args:
        backbone: one of `backbone.names()`.
        weights: as `build_backbone` takes them.

    Raises:
        ComponentError: they have none, or it is not available.
    """
    if weights != IMAGENET:
        raise ComponentError(f"weights {weights!r} come without a head for ImageNet's classes")
    return ImageNetHead(*imagenet_of(backbone).head())


def dog_share(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of the probability goes to dogs.

    Args:
        probabilities: of ImageNet's classes, float32 [N, 1000].

    Returns:
        float32 [N] in [0, 1].
    """
    return probabilities[:, DOGS.start : DOGS.stop].sum(axis=1)
