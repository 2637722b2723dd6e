"""What was found out about a set of photos, put in order: no files, no pictures."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from data.audit import SMALLEST_CLASS, Fact
from data.contract.features import SPLITS
from data.contract.images import IMAGE_SIDE
from data.near_duplicates import Radius
from pipeline.audit.pictures import Doubts, Padded

DARK, BRIGHT = 50, 205
"""Mean lumas below and above which a photo shows little."""
SMALL_SHARE = 0.3
"""A class with fewer photos than this share of the largest is worth a word."""
LEANING = 0.15
"""So is a share of padded photos that differs by more between two classes: a model may learn it."""


@dataclass(frozen=True)
class ClassRow:
    """One class in figures, of the photos that are used."""

    label: str
    splits: tuple[int, ...]
    """How many photos there are in each of `SPLITS`."""
    shorter_side: float
    """The median, in pixels; 0 if there is no photo."""
    brightness: float
    """The median, 0 to 255."""
    padded: float
    """The share of photos with white bars."""

    @property
    def photos(self) -> int:
        """How many are used."""
        return sum(self.splits)


@dataclass(frozen=True)
class Group:
    """Near-duplicates of each other."""

    photos: tuple[Fact, ...]

    @property
    def labels(self) -> list[str]:
        """The different labels that they carry."""
        return sorted({fact.label for fact in self.photos})


@dataclass(frozen=True)
class Notice:
    """Something to look at: what it is, how many there are, and the section about it."""

    what: str
    number: int
    section: str


@dataclass(frozen=True)
class Findings:
    """All that the page tells."""

    photos: int
    """How many files were looked at."""
    refusal: str
    """Why a run would refuse them; empty if it would not."""
    used: tuple[Fact, ...]
    classes: tuple[ClassRow, ...]
    rejected: tuple[Fact, ...]
    conflicts: tuple[Fact, ...]
    groups: tuple[Group, ...]
    """Of two photos or more; those with several labels first, then the largest."""
    radius: Radius
    """Within which they were looked for."""
    padded: tuple[Padded, ...]
    doubts: Doubts
    notices: tuple[Notice, ...]
    """What to look at first, the gravest first."""


def find_out(
    facts: Sequence[Fact],
    padded: Sequence[Padded],
    doubts: Doubts,
    *,
    radius: Radius,
    refusal: str = "",
) -> Findings:
    """Puts in order what was found.

    Args:
        facts: about every photo.
        padded: those with white bars, among the photos that are not rejected.
        doubts: those with hardly a dog, among the same.
        radius: within which near-duplicates were looked for.
        refusal: why a run would refuse them; empty if it would not.
    """
    rejected = tuple(fact for fact in facts if fact.reason)
    conflicts = tuple(fact for fact in facts if fact.conflict and not fact.reason)
    used = tuple(fact for fact in facts if fact.is_used)
    classes = tuple(_rows(facts, used, padded))
    groups = _groups(facts)
    return Findings(
        photos=len(facts),
        refusal=refusal,
        used=used,
        classes=classes,
        rejected=rejected,
        conflicts=conflicts,
        groups=groups,
        radius=radius,
        padded=tuple(padded),
        doubts=doubts,
        notices=tuple(
            notice
            for notice in _notices(used, classes, rejected, conflicts, groups, padded, doubts)
            if notice.number
        ),
    )


def _rows(
    facts: Iterable[Fact], used: Iterable[Fact], padded: Iterable[Padded]
) -> Iterator[ClassRow]:
    """The classes in the order of their names, those without a usable photo too."""
    members: dict[str, list[Fact]] = {label: [] for label in sorted({f.label for f in facts})}
    for fact in used:
        members[fact.label].append(fact)
    bars = {each.fact for each in padded}
    for label, photos in members.items():
        splits = Counter(fact.split for fact in photos)
        yield ClassRow(
            label=label,
            splits=tuple(splits[split] for split in SPLITS),
            shorter_side=median(min(f.width, f.height) for f in photos) if photos else 0,
            brightness=median(fact.brightness for fact in photos) if photos else 0,
            padded=sum(fact in bars for fact in photos) / max(1, len(photos)),
        )


def _groups(facts: Iterable[Fact]) -> tuple[Group, ...]:
    members: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        if not fact.reason:
            members[fact.group].append(fact)
    groups = [Group(tuple(photos)) for photos in members.values() if len(photos) > 1]
    return tuple(
        sorted(
            groups,
            key=lambda group: (
                len(group.labels) == 1,
                -len(group.photos),
                group.photos[0].name,
            ),
        )
    )


def _notices(
    used: Sequence[Fact],
    classes: Sequence[ClassRow],
    rejected: Sequence[Fact],
    conflicts: Sequence[Fact],
    groups: Sequence[Group],
    padded: Sequence[Padded],
    doubts: Doubts,
) -> list[Notice]:
    small = [row for row in classes if row.photos < SMALLEST_CLASS]
    largest = max((row.photos for row in classes), default=0)
    uneven = [row for row in classes if row not in small and row.photos < SMALL_SHARE * largest]
    unlike = [group for group in groups if len(group.labels) > 1]
    shares = [row.padded for row in classes if row.photos]
    leans = max(shares, default=0) - min(shares, default=0) > LEANING
    return [
        Notice(
            f"Classes with fewer than {SMALLEST_CLASS} usable photos, too few to train on",
            len(small),
            "classes",
        ),
        Notice("Files that are not usable photos", len(rejected), "rejected"),
        Notice("Photos left out though they could be used", len(conflicts), "conflicts"),
        Notice("Groups of near-duplicates with more than one label", len(unlike), "groups"),
        Notice("Photos in which hardly a dog is seen", len(doubts.photos), "no-dog"),
        Notice(
            f"Classes with less than {SMALL_SHARE:.0%} of the photos of the largest",
            len(uneven),
            "classes",
        ),
        Notice(
            "Photos with near-duplicates, which share a split",
            sum(len(group.photos) for group in groups),
            "groups",
        ),
        Notice(
            "Photos with white bars"
            + (", far more in some classes than in others" if leans else ""),
            len(padded),
            "padding",
        ),
        Notice(
            f"Photos smaller than the {IMAGE_SIDE} pixels that the model looks at",
            sum(min(fact.width, fact.height) < IMAGE_SIDE for fact in used),
            "figures",
        ),
        Notice(
            "Photos that are very dark or very bright",
            sum(not DARK <= fact.brightness <= BRIGHT for fact in used),
            "figures",
        ),
    ]
