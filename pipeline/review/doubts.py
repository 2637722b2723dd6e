"""The photos in the order in which a person should look at them, and what is shown about each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.review.photos import Photo
from pipeline.review.ranking import Probabilities, most_doubtful_first, out_of_fold

NEIGHBOURS = 4
"""Of the photo's own class, and as many of others."""


@dataclass(frozen=True)
class Doubts:
    """Photos, those in conflict first, copy by copy, then the most doubtful label."""

    classes: tuple[str, ...]
    photos: Sequence[Photo]
    probabilities: Probabilities
    """[N, K], by heads that have not seen the photo."""
    directions: NDArray[np.float32]
    """[N, D], the features as unit vectors."""

    @classmethod
    def of(cls, photos: Sequence[Photo], features: NDArray[np.float32]) -> Self:
        """Ranks photos.

        Args:
            photos: of two classes or more.
            features: [N, D], in the same order.
        """
        classes, labels = np.unique([photo.label for photo in photos], return_inverse=True)
        groups = np.array([photo.group for photo in photos])
        probabilities = out_of_fold(features, labels, groups)
        order = sorted(
            most_doubtful_first(labels, probabilities).tolist(),
            key=lambda index: (0, photos[index].group) if photos[index].conflict else (1, ""),
        )
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        directions = features / np.maximum(lengths, np.finfo(np.float32).tiny)
        return cls(
            tuple(map(str, classes)),
            [photos[index] for index in order],
            probabilities[order],
            directions[order],
        )

    def copies(self, position: int) -> list[int]:
        """The positions of the photo's copies and near-duplicates, without its own."""
        group = self.photos[position].group
        return [
            each
            for each, photo in enumerate(self.photos)
            if photo.group == group and each != position
        ]

    def neighbours(self, position: int) -> tuple[list[int], list[int]]:
        """The nearest photos of the photo's own class and of others, near-duplicates left out.

        Returns:
            The positions of at most `NEIGHBOURS` each, the nearest first.
        """
        mine = self.photos[position]
        same: list[int] = []
        others: list[int] = []
        for near in np.argsort(-(self.directions @ self.directions[position])):
            photo = self.photos[near]
            found = same if photo.label == mine.label else others
            if photo.group != mine.group and len(found) < NEIGHBOURS:
                found.append(int(near))
            if len(same) == len(others) == NEIGHBOURS:
                break
        return same, others
