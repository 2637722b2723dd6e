"""What a source of photos holds: each photo read, compared with all others, and given a split."""

import dataclasses
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data import shards
from data.audit import Fact
from data.contract.progress import Tell
from data.folder import LabelledPhoto
from data.held_photos import NONE_HELD, HeldPhotos
from data.near_duplicates import Pairs, Radius, choose_radius, find_leaders, find_pairs
from data.perceptual_hash import BYTES, HASHES, Hashes
from data.relabels import Relabel, relabel
from data.span_photos import NO_PHOTOS, SpanPhotos
from data.splits import assign_splits, find_leaks


@dataclass(frozen=True)
class Survey:
    """What was found out about the photos, all of them together."""

    facts: tuple[Fact, ...]
    hashes: Hashes
    """In the order of the facts; zeros for rejected photos."""
    radius: Radius


def survey(
    photos: Sequence[LabelledPhoto],
    folder: Path,
    *,
    relabels: Mapping[str, Relabel],
    splits: Mapping[str, str],
    earlier: SpanPhotos = NO_PHOTOS,
    held: HeldPhotos = NONE_HELD,
    progress: Tell,
    beam_options: Sequence[str],
) -> Survey:
    """Read every photo, and find out which are alike and where each belongs.

    Args:
        photos: what `list_photos` found.
        folder: where the prepared photos go; it exists, and is empty.
        relabels: what people have decided about labels.
        splits: the splits of pictures seen before, by the hash of their pixels.
        earlier: photos of spans that stay as they are; what is like one of them gives way.
        held: photos that need not be read, as spans hold them.
        progress: is told how many of the other photos are prepared.
        beam_options: of a runner whose workers see the photos and the folder.
    """
    facts, hashes = shards.prepare_photos(photos, held, folder, progress, beam_options)
    classes = {*earlier.labels, *(photo.label for photo in photos)}
    return compare(relabel(facts, relabels, classes), hashes, splits, earlier)


def compare(
    facts: Sequence[Fact], hashes: Hashes, splits: Mapping[str, str], earlier: SpanPhotos
) -> Survey:
    """Find near-duplicates, and from them groups, splits and conflicts.

    Args:
        facts: about the photos, relabelled.
        hashes: uint8 [N, HASHES, 32], in the same order.
        splits: as in `survey`.
        earlier: as in `survey`.
    """
    pictures = _Pictures(facts, hashes, earlier)
    radius = choose_radius(pictures.hashes)
    known = {**splits, **dict(zip(earlier.pixels, earlier.splits, strict=True))}
    near = find_pairs(pictures.hashes, radius.bits, pictures.find_kinds(known))
    groups = pictures.find_groups(near)
    assigned = assign_splits(pictures.pixels, near, known)
    conflicts = pictures.find_conflicts(near)
    stays = pictures.is_earlier.copy()
    stays[[place for place in pictures.in_use if place not in conflicts]] = True
    for one, other in find_leaks(assigned, near.among(stays), pictures.is_earlier).items():
        twin = f"{pictures.name(other)}, which is in the {assigned[other]} split"
        conflicts[one] = f"a near-duplicate of {twin}"

    def place(fact: Fact) -> Fact:
        if fact.reason:
            return fact
        picture = pictures.position[fact.pixels]
        return dataclasses.replace(
            fact,
            group=groups[picture],
            split=assigned[picture],
            conflict=fact.conflict or conflicts.get(picture, ""),
            span=pictures.spans.get(fact.pixels, 0),
        )

    return Survey(tuple(map(place, facts)), hashes, radius)


class _Pictures:
    """The different pictures among photos: copies of one, to the pixel, count once."""

    def __init__(self, facts: Sequence[Fact], hashes: Hashes, earlier: SpanPhotos) -> None:
        usable = [(fact, row) for fact, row in zip(facts, hashes, strict=True) if not fact.reason]
        self.pixels = sorted({fact.pixels for fact, _ in usable} | set(earlier.pixels))
        self.position = {pixels: place for place, pixels in enumerate(self.pixels)}
        self.spans = dict(zip(earlier.pixels, earlier.spans, strict=True))
        self._earlier_groups = dict(zip(earlier.pixels, earlier.groups, strict=True))
        self.is_earlier = np.array([pixels in self.spans for pixels in self.pixels], bool)
        self.hashes = np.zeros((len(self.pixels), HASHES, BYTES), np.uint8)
        self._named: defaultdict[int, dict[str, str]] = defaultdict(dict)
        """The labels of each picture, each with the name of a photo that has it."""
        for pixels, label, name, row in zip(
            earlier.pixels, earlier.labels, earlier.names, earlier.hashes, strict=True
        ):
            self.hashes[self.position[pixels]] = row
            self._named[self.position[pixels]].setdefault(label, name)
        for fact, row in usable:
            self.hashes[self.position[fact.pixels]] = row
            if not fact.conflict:
                self._named[self.position[fact.pixels]].setdefault(fact.label, fact.name)

    @property
    def in_use(self) -> list[int]:
        """The pictures that nobody has decided to leave out."""
        return [place for place, named in self._named.items() if named]

    def name(self, place: int) -> str:
        """The name of a photo of that picture."""
        return next(iter(self._named[place].values()))

    def find_kinds(self, splits: Mapping[str, str]) -> NDArray[np.int32]:
        """The kind of each picture, int32 [pictures]: with the same labels, split and group."""
        return _number(
            (frozenset(self._named[place]), splits.get(pixels), self._earlier_groups.get(pixels))
            for place, pixels in enumerate(self.pixels)
        )

    def find_groups(self, near: Pairs) -> list[str]:
        """The group of each picture: what is like a picture of an earlier span is in its group."""
        groups = [self.pixels[leader] for leader in find_leaders(near, len(self.pixels))]
        one, other = near.both_ways()
        joins = self.is_earlier[other]
        for newcomer, picture in zip(one[joins], other[joins], strict=True):
            groups[newcomer] = self._earlier_groups[self.pixels[picture]]
        return [
            self._earlier_groups.get(pixels, group)
            for pixels, group in zip(self.pixels, groups, strict=True)
        ]

    def find_conflicts(self, near: Pairs) -> dict[int, str]:
        """The pictures that are labelled in two ways, or unlike a near-duplicate, and how.

        What an earlier span holds stays as it is, whatever resembles it now.
        """
        conflicts = {}
        labels = _number(frozenset(self._named[place]) for place in range(len(self.pixels)))
        one, other = near.both_ways()
        differ = (labels[one] != labels[other]) & ~self.is_earlier[one]
        for picture, twin in zip(one[differ].tolist(), other[differ].tolist(), strict=True):
            for label, name in self._named[twin].items():
                if self._named[picture] and label not in self._named[picture]:
                    conflicts[picture] = f"a near-duplicate of {name}, which is labelled {label}"
        for place, named in self._named.items():
            if len(named) > 1:
                said = " and ".join(f"{label} ({name})" for label, name in named.items())
                conflicts[place] = f"the same picture is labelled {said}"
        return conflicts


def _number(values: Iterable[Hashable]) -> NDArray[np.int32]:
    """A number for each value, int32 [N]; equal ones have the same."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int32)
