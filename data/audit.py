"""Which photos are used, in which split, and whether there are enough: decisions, no files."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
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
    group: str = ""
    """Photos of one group are copies of each other: the hash of their pixels."""
    width: int = 0
    """Of the upright photo at full size, as are the height and the mean luma (0 to 255)."""
    height: int = 0
    brightness: float = 0.0
    reason: str = ""


def choose_split(group: str) -> str:
    """The split of a group, from nothing but the first 8 bytes of its hexadecimal hash.

    So a photo keeps its split when others are added, its copies share it, and the shares hold up to
    sampling error.
    """
    position = int(group[:16], 16) / 2**64
    if position < SHARES[TRAIN]:
        return TRAIN
    return VAL if position < SHARES[TRAIN] + SHARES[VAL] else TEST


def find_conflicts(facts: Iterable[Fact]) -> list[Fact]:
    """The photos whose copies carry another label."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    facts = [fact for fact in facts if not fact.reason]
    for fact in facts:
        labels[fact.group].add(fact.label)
    return [fact for fact in facts if len(labels[fact.group]) > 1]


def count_photos(facts: Sequence[Fact]) -> Counts:
    """How many of these photos of each class each split holds, zeros included."""
    found = Counter((choose_split(fact.group), fact.label) for fact in facts)
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
