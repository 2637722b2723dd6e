"""The findings as one HTML page that needs nothing else: bounded, however many photos there are."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from markupsafe import Markup

from components.model.imagenet_head import DOUBTFUL
from components.pages.charts import histogram, stack
from components.pages.rendering import render
from components.pages.thumbnails import thumbnail
from data.audit import SMALLEST_CLASS, Fact
from data.contract.features import SPLITS
from data.contract.images import IMAGE_SIDE
from pipeline.audit.findings import BRIGHT, DARK, ClassRow, Findings, Group

TEMPLATE = Path(__file__).with_name("page.html")

SHEETS = 240
"""Photos on all contact sheets together."""
LARGEST_SHEET, SMALLEST_SHEET = 32, 4
CLASSES = 60
GROUPS = 40
GROUP_PHOTOS = 8
DOUBTS = 60
PADDED = 24
REASONS = 12
FILES = 24
"""For each reason."""
CONFLICTS = 24

Item = TypeVar("Item")


@dataclass(frozen=True)
class Bounded(Generic[Item]):
    """The first of many."""

    shown: Sequence[Item]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.shown)


@dataclass(frozen=True)
class Picture:
    """A photo on the page."""

    fact: Fact
    image: Markup
    """A `data:` URI."""
    caption: str = ""


@dataclass(frozen=True)
class Listing:
    """The files that are rejected for one reason."""

    reason: str
    files: Bounded[Fact]


@dataclass(frozen=True)
class Sheet:
    """Photos of one class, or of one group."""

    labels: list[str]
    pictures: Bounded[Picture]


def make_page(findings: Findings, source: str) -> str:
    """The page, of which no part grows with the number of photos.

    Args:
        findings: whose prepared photos are there.
        source: where the photos are, as the page shows it.
    """
    most = max((row.photos for row in findings.classes), default=0)
    used = findings.used
    return render(
        TEMPLATE,
        findings=findings,
        source=source,
        splits=SPLITS,
        totals=[sum(row.splits[place] for row in findings.classes) for place in range(len(SPLITS))],
        classes=_first(findings.classes, CLASSES),
        bar=lambda row: stack(row.splits, most=most),
        sheets=_first(_sheets(used, findings.classes[:CLASSES]), CLASSES),
        charts=[
            (
                "Shorter side",
                histogram(
                    [min(fact.width, fact.height) for fact in used],
                    step=8,
                    title="Photos by the length of their shorter side",
                    unit=" px",
                ),
            ),
            (
                "Width by height",
                histogram(
                    [fact.width / fact.height for fact in used],
                    step=0.05,
                    title="Photos by their width divided by their height",
                ),
            ),
            (
                "Brightness",
                histogram(
                    [fact.brightness for fact in used],
                    step=8,
                    title="Photos by their mean brightness, 0 to 255",
                ),
            ),
        ],
        dark=DARK,
        bright=BRIGHT,
        side=IMAGE_SIDE,
        smallest=SMALLEST_CLASS,
        doubtful=DOUBTFUL,
        rejected=_listings(findings.rejected),
        conflicts=_first(_conflicts(findings.conflicts), CONFLICTS),
        groups=Bounded(
            [_group_sheet(group) for group in findings.groups[:GROUPS]], len(findings.groups)
        ),
        doubts=Bounded(
            [
                _picture(doubt.fact, f"{doubt.instead}, dog {doubt.dog:.1%}")
                for doubt in findings.doubts.photos[:DOUBTS]
            ],
            len(findings.doubts.photos),
        ),
        padded=Bounded(
            [_picture(each.fact, f"bars {each.share:.0%}") for each in findings.padded[:PADDED]],
            len(findings.padded),
        ),
    )


def _first(items: Sequence[Item], most: int) -> Bounded[Item]:
    return Bounded(items[:most], len(items))


def _listings(rejected: Iterable[Fact]) -> Bounded[Listing]:
    """By reason, the commonest first."""
    files: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in rejected:
        files[fact.reason].append(fact)
    commonest = sorted(files.items(), key=lambda item: -len(item[1]))
    return _first([Listing(why, _first(facts, FILES)) for why, facts in commonest], REASONS)


def _conflicts(facts: Sequence[Fact]) -> list[str]:
    """What is said of the photos, near-duplicates side by side; once if it names them all."""
    said = (
        fact.conflict if fact.name in fact.conflict else f"{fact.name}: {fact.conflict}"
        for fact in sorted(facts, key=lambda fact: (fact.group, fact.name))
    )
    return list(dict.fromkeys(said))


def _sheets(used: Sequence[Fact], classes: Sequence[ClassRow]) -> list[Sheet]:
    """A sample of each class, the same whenever the photos are."""
    members: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in used:
        members[fact.label].append(fact)
    each = min(LARGEST_SHEET, max(SMALLEST_SHEET, SHEETS // max(1, len(classes))))
    sheets = []
    for row in classes:
        if photos := members[row.label]:
            sample = random.Random(row.label).sample(photos, min(each, len(photos)))
            pictures = [_picture(fact, fact.split) for fact in sample]
            sheets.append(Sheet([row.label], Bounded(pictures, len(photos))))
    return sheets


def _group_sheet(group: Group) -> Sheet:
    """One photo of every label before the second of any."""
    ranks: defaultdict[str, int] = defaultdict(int)
    order = []
    for fact in group.photos:
        order.append((ranks[fact.label], fact.label, fact))
        ranks[fact.label] += 1
    first = [fact for _, _, fact in sorted(order, key=lambda each: each[:2])][:GROUP_PHOTOS]
    pictures = [_picture(fact, fact.label) for fact in first]
    return Sheet(group.labels, Bounded(pictures, len(group.photos)))


def _picture(fact: Fact, caption: str = "") -> Picture:
    return Picture(fact, thumbnail(Path(fact.jpeg).read_bytes()), caption)
