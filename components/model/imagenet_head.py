"""What a backbone saw in a photo when it was still a classifier of ImageNet's thousand classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from components.errors import ComponentError
from components.model.weights import IMAGENET, imagenet_of

DOGS = range(151, 269)
"""ImageNet's classes of dogs. Wolves, dingoes, wild dogs and foxes follow them."""

_NAMES = Path(__file__).with_name("imagenet_classes.txt")
"""A line for each class, in ImageNet's order: the first of its names in WordNet."""

DOUBTFUL = 0.1
"""With less of the probability than this for dogs, it is doubtful that there is one. Measured with
Lite0: this tells 99.5 % of 434 photos without a dog, and 87 of 4,082 photos that should show one,
about half of which do not. No dog among the five likeliest classes tells 98.2 %, and 95."""


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


def class_names() -> list[str]:
    """The names of ImageNet's classes, in the order of their probabilities."""
    return _NAMES.read_text(encoding="utf-8").splitlines()


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
