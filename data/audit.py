"""Which photos are used, in which split, and whether there are enough: decisions, no files."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from data.contract.features import SPLITS, TEST, TRAIN, VAL
from data.errors import DataError

SHARES = {TRAIN: 0.70, VAL: 0.15, TEST: 0.15}
SMALLEST_CLASS = 20
CONFIDENCE = 0.95

Counts = dict[str, dict[str, int]]
"""Photos by split and class."""


@dataclass(frozen=True)
class Fact:
    """What was found out about one photo: its hashes and figures, or why it is rejected."""

    name: str
    label: str
    jpeg: str
    """Where the prepared photo waits to be written."""
    sha256: str = ""
    """Of the file's bytes; empty if they could not be read, or not be decoded this time."""
    pixels: str = ""
    """Hash of the upright pixels at full size; copies share it."""
    group: str = ""
    """Hash of the pixels of the photo that stands for its near-duplicates."""
    split: str = ""
    width: int = 0
    """Of the upright photo at full size, as are the height and the mean luma (0 to 255); width and
    height of one that is taken from an earlier span are those of its record."""
    height: int = 0
    brightness: float = 0.0
    conflict: str = ""
    """Why it is left out, though it could be used: its label or its split cannot be right."""
    span: int = 0
    """The earlier span that holds it already."""
    reason: str = ""
    """Why it is rejected: no usable photo."""

    @property
    def is_used(self) -> bool:
        """Whether it belongs in the records."""
        return not (self.reason or self.conflict or self.span)


def count_photos(facts: Sequence[Fact]) -> Counts:
    """How many of these photos of each class each split holds, zeros included."""
    found = Counter((fact.split, fact.label) for fact in facts)
    labels = sorted({fact.label for fact in facts})
    return {split: {label: found[split, label] for label in labels} for split in SPLITS}


def check_rejects(facts: Sequence[Fact], max_share: float) -> None:
    """Refuse a source if more than `max_share` of its photos are rejected.

    Raises:
        DataError: naming the share and the most frequent reason.
    """
    reasons = Counter(fact.reason for fact in facts if fact.reason)
    share = reasons.total() / len(facts)
    if share > max_share:
        reason, times = reasons.most_common(1)[0]
        raise DataError(
            f"{reasons.total()} of {len(facts)} photos ({share:.1%}) cannot be used, more than "
            f"the {max_share:.0%} allowed; most often ({times}): {reason}"
        )


def check_new(used: Sequence[Fact], classes: Collection[str]) -> None:
    """Refuse a span with nothing new in it, or with classes that the earlier ones do not have.

    Raises:
        DataError: naming the class.
    """
    if not used:
        raise DataError("no photo is new: the earlier spans hold all that can be used")
    for fact in used:
        if fact.label not in classes:
            raise DataError(
                f"class {fact.label!r} is not in the earlier spans, which have "
                f"{', '.join(sorted(classes))}: begin anew with all photos in another folder"
            )


def check_classes(labels: Iterable[str], counts: Counts) -> None:
    """Refuse classes that are too small, or of which a split has no photo.

    Raises:
        DataError: naming the class, and how many more photos it needs.
    """
    for label in labels:
        usable = sum(counts[split].get(label, 0) for split in SPLITS)
        if usable < SMALLEST_CLASS:
            raise DataError(
                f"class {label!r} has {usable} usable photos, {SMALLEST_CLASS} are needed: "
                f"add {SMALLEST_CLASS - usable} more, or leave the class out"
            )
        for split in SPLITS:
            if not counts[split][label]:
                raise DataError(
                    f"none of the {usable} photos of class {label!r} falls into the {split} "
                    f"split: {count_needed(split)} more photos give one with "
                    f"{CONFIDENCE:.0%} certainty"
                )


def count_needed(split: str) -> int:
    """How many more photos put at least one into a split with 95 % certainty."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - SHARES[split]))
