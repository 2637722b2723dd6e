"""Which test photos the report shows, and what it shows of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from components.evaluation.table import Predictions
from components.pages.thumbnails import thumbnail
from components.report.evidence import evidence_thumbnail
from components.report.neighbours import Neighbour
from data.contract.model import SUBJECT_THRESHOLD

MISTAKES = 12
RIGHT = 6
NEIGHBOURS = 3


@dataclass(frozen=True)
class Photo:
    """A photo as its record holds it."""

    jpeg: bytes
    filename: str


@dataclass(frozen=True)
class Like:
    """A training photo that is like the one shown."""

    filename: str
    label: str
    similarity: float
    image: Markup


@dataclass(frozen=True)
class Shown:
    """A test photo on the page."""

    filename: str
    label: str
    predicted: str
    confidence: float
    own: float
    """The probability of its own class."""
    certain: bool | None
    no_dog: bool
    """Whether it says that there is none; False if it has no such score."""
    image: Markup | None
    """A `data:` URI; None if the photo is not at hand."""
    evidence: Markup | None
    """The same under what speaks for the predicted class."""
    of_predicted: tuple[Like, ...] = ()
    """The most similar training photos of the class that it was taken for."""
    of_any: tuple[Like, ...] = ()


def surest_mistakes(predictions: Predictions) -> list[int]:
    """The wrong answers that the model was surest of, as places in the table."""
    wrong = np.flatnonzero(~predictions.right)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")
    return [int(place) for place in wrong[order][:MISTAKES]]


def surest_right(predictions: Predictions) -> list[int]:
    """The right answer that the model was surest of in each class, for the first few classes."""
    found = []
    for number in range(len(predictions.classes)):
        right = np.flatnonzero(predictions.right & (predictions.labels == number))
        if len(right):
            found.append(int(right[predictions.confidence[right].argmax()]))
    return sorted(found, key=lambda place: -predictions.confidence[place])[:RIGHT]


def show(
    predictions: Predictions,
    place: int,
    photos: Mapping[str, Photo],
    *,
    of_predicted: Iterable[Neighbour] = (),
    of_any: Iterable[Neighbour] = (),
) -> Shown:
    """What the page shows of one test photo.

    Args:
        predictions: the table.
        place: the photo's, in it.
        photos: by the SHA-256 of their files: those that are at hand.
        of_predicted: the training photos of the predicted class that are most like it.
        of_any: those of any class.
    """
    photo = photos.get(predictions.photos[place])
    image = evidence = None
    if photo is not None:
        image = thumbnail(photo.jpeg)
        if predictions.maps is not None:
            evidence = evidence_thumbnail(photo.jpeg, predictions.maps[place])
    label = int(predictions.labels[place])
    return Shown(
        filename=predictions.filenames[place],
        label=predictions.classes[label],
        predicted=predictions.classes[int(predictions.predicted[place])],
        confidence=float(predictions.confidence[place]),
        own=float(predictions.probabilities[place, label]),
        certain=None if predictions.certain is None else bool(predictions.certain[place]),
        no_dog=bool(no_dog(predictions)[place]),
        image=image,
        evidence=evidence,
        of_predicted=tuple(_likes(of_predicted, predictions.classes, photos)),
        of_any=tuple(_likes(of_any, predictions.classes, photos)),
    )


def no_dog(predictions: Predictions) -> NDArray[np.bool_]:
    """In which photos the model sees no dog, bool [N]; in none if it has no score for that."""
    if predictions.dog is None:
        return np.zeros(len(predictions), bool)
    return predictions.dog < SUBJECT_THRESHOLD


def _likes(
    neighbours: Iterable[Neighbour], classes: tuple[str, ...], photos: Mapping[str, Photo]
) -> Iterable[Like]:
    for each in neighbours:
        photo = photos[each.sha256]
        yield Like(
            photo.filename, classes[each.label], each.similarity, thumbnail(photo.jpeg, side=96)
        )
