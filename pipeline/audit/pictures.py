"""What only a photo's pixels tell: white bars at its edges, and whether there is a dog in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.errors import ComponentError
from components.model.auto import resolve_auto
from components.model.imagenet_head import DOUBTFUL, class_names, dog_share, find_head
from components.model.photo_features import photo_features
from data.audit import Fact
from data.contract.progress import Tell
from data.padding import find_padding
from data.photos import decode_photo


@dataclass(frozen=True)
class Padded:
    """A photo with white bars."""

    fact: Fact
    share: float
    """Of the area, taken by the bars."""


@dataclass(frozen=True)
class Doubt:
    """A photo in which the ImageNet head sees hardly a dog."""

    fact: Fact
    dog: float
    """The probability that goes to dogs."""
    instead: str
    """The likeliest class of all."""


@dataclass(frozen=True)
class Doubts:
    """What the ImageNet head said, or why there is none that could."""

    photos: tuple[Doubt, ...] = ()
    """The least dog first."""
    backbone: str = ""
    unjudged: str = ""
    """Why no photo was judged; empty if all were."""


def find_padded(facts: Sequence[Fact], tell: Tell) -> list[Padded]:
    """The photos with white bars, the widest first.

    Args:
        facts: about photos whose prepared JPEGs are there.
        tell: is told how many photos of how many are measured.
    """
    found = []
    for done, fact in enumerate(facts, start=1):
        image = decode_photo(Path(fact.jpeg).read_bytes())
        height, width = image.shape[:2]
        bars = find_padding(image)
        kept = (height - bars.top - bars.bottom) * (width - bars.left - bars.right)
        if any(bars):
            found.append(Padded(fact, 1 - kept / (width * height)))
        tell(done, len(facts))
    return sorted(found, key=lambda padded: (-padded.share, padded.fact.name))


def find_doubts(facts: Sequence[Fact], backbone: str, weights: str, tell: Tell) -> Doubts:
    """The photos in which the backbone's own ImageNet head sees hardly a dog.

    Args:
        facts: about photos whose prepared JPEGs are there.
        backbone: `auto`, or a backbone's name.
        weights: `auto`, or as `build_backbone` takes them.
        tell: is told how many photos of how many the backbone has seen.
    """
    if not facts:
        return Doubts(unjudged="there is no photo to judge")
    try:
        resolved = resolve_auto(backbone, weights)
        head = find_head(resolved.backbone, resolved.weights)
        features = photo_features(
            _jpegs(facts),
            count=len(facts),
            backbone=resolved.backbone,
            weights=resolved.weights,
            tell=tell,
        )
    except ComponentError as error:
        return Doubts(unjudged=str(error))
    probabilities = head.probabilities(features)
    dogs = dog_share(probabilities)
    likeliest = probabilities.argmax(axis=1)
    names = class_names()
    photos = tuple(
        Doubt(facts[index], float(dogs[index]), names[likeliest[index]])
        for index in np.argsort(dogs, kind="stable")
        if dogs[index] < DOUBTFUL
    )
    return Doubts(photos, resolved.backbone)


def _jpegs(facts: Sequence[Fact]) -> Iterator[bytes]:
    for fact in facts:
        yield Path(fact.jpeg).read_bytes()
