"""The training photos that are most like some others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SEARCHED = 100_000
"""Training photos, at most, among which similar ones are looked for."""


@dataclass(frozen=True)
class Neighbour:
    """A training photo that is like another one."""

    sha256: str
    """Of the photo's file, hexadecimal."""
    label: int
    """Class id."""
    similarity: float
    """Cosine of the angle between the features, at most 1."""


@dataclass(frozen=True)
class Batch:
    """Some training photos."""

    features: NDArray[np.floating]
    """[N, features]."""
    labels: NDArray[np.int64]
    """Class ids [N]."""
    sha256: Sequence[str]


def nearest(
    features: NDArray[np.floating],
    batches: Iterable[Batch],
    *,
    number: int,
    of_class: Sequence[int | None],
) -> list[list[Neighbour]]:
    """The training photos most like each of some photos.

    Memory is that of one batch, however many there are.

    Args:
        features: of the photos, [M, features].
        batches: the training photos.
        number: how many neighbours each gets, where there are so many.
        of_class: M class ids; a photo's neighbours are of that class alone, or of any if it is
            None.

    Returns:
        For each photo, its neighbours, the most similar first.
    """
    wanted = _unit(features)
    found: list[list[Neighbour]] = [[] for _ in wanted]
    for batch in batches:
        similarity = wanted @ _unit(batch.features).T
        for place, label in enumerate(of_class):
            row = similarity[place]
            if label is not None:
                row = np.where(batch.labels == label, row, -np.inf)
            best = np.argsort(-row, kind="stable")[:number]
            found[place] += [
                Neighbour(batch.sha256[at], int(batch.labels[at]), float(row[at]))
                for at in best
                if np.isfinite(row[at])
            ]
            found[place] = sorted(found[place], key=lambda each: -each.similarity)[:number]
    return found


def _unit(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """The features at length 1; zeros stay zeros."""
    values = features.astype(np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1))
