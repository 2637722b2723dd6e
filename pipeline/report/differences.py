"""What differs between two runs, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest

from components.report.calibration import certain_share
from components.report.classes import class_rows
from components.report.description import leaves
from data.contract.features import SPLITS
from pipeline.report.runs import Run


@dataclass(frozen=True)
class Change:
    """A value before and after; None where there is none."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Value:
    """A measured figure."""

    value: float
    interval: tuple[float, float] | None = None
    """95 % interval, where there is one."""


@dataclass(frozen=True)
class Figure:
    """A figure of both runs; None where a run has none."""

    name: str
    before: Value | None
    after: Value | None
    form: str = ".3f"
    """Python's format of the values."""

    @property
    def difference(self) -> float | None:
        """After less before."""
        if self.before is None or self.after is None:
            return None
        return self.after.value - self.before.value


@dataclass(frozen=True)
class SplitChange:
    """The photos of one split in both runs."""

    split: str
    before: int
    after: int
    both: int
    """In this split of both, whatever their labels."""


@dataclass(frozen=True)
class DataChange:
    """The photos of both runs."""

    splits: tuple[SplitChange, ...]
    moved: int
    """Photos of both runs that are in another split."""
    relabelled: int
    """Photos of both runs that have another label."""


@dataclass(frozen=True)
class Flip:
    """A test photo of both runs that one of them tells and the other does not."""

    sha256: str
    filename: str
    label: str
    before: str
    after: str
    confidence: float
    """Of the later answer."""


@dataclass(frozen=True)
class Paired:
    """The test photos that both runs have, under the same label."""

    photos: int
    before: float
    """Accuracy."""
    after: float
    gained: tuple[Flip, ...]
    """Wrong before and right after, the surest first."""
    lost: tuple[Flip, ...]
    """Right before and wrong after, the surest first."""
    chance: float
    """McNemar's exact test, two-sided: how likely so uneven a split of the photos that are told
    differently is between two equally good models."""


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """The keys whose values differ, in the order of their names."""
    return [
        Change(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def setting_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The settings that differ, as `--set` names them."""
    return changes(dict(leaves(before)), dict(leaves(after)))


def compare_data(before: Run, after: Run) -> DataChange | None:
    """What changed in the photos; None if the records of a run are gone."""
    first, second = before.photos, after.photos
    if first is None or second is None:
        return None
    both = [(first[key], second[key]) for key in first.keys() & second.keys()]
    return DataChange(
        splits=tuple(
            SplitChange(
                split,
                before=sum(photo.split == split for photo in first.values()),
                after=sum(photo.split == split for photo in second.values()),
                both=sum(one.split == other.split == split for one, other in both),
            )
            for split in SPLITS
        ),
        moved=sum(one.split != other.split for one, other in both),
        relabelled=sum(one.label != other.label for one, other in both),
    )


def compare_figures(before: Run, after: Run) -> list[Figure]:
    """The figures of both runs, each on its own test photos."""
    first, second = _figures(before), _figures(after)
    return [
        Figure(name, first.get(name), second.get(name), _FORMS.get(name, ".3f"))
        for name in dict.fromkeys((*first, *second))
    ]


_PHOTOS, _SIZE, _LATENCY = "test photos", "size, MB", "time for one photo, ms"
_FORMS = {_PHOTOS: ",.0f", _SIZE: ",.1f", _LATENCY: ",.0f"}


def _figures(run: Run) -> dict[str, Value]:
    evaluation = run.evaluation
    found = {
        _PHOTOS: Value(evaluation.photos),
        "accuracy": Value(evaluation.accuracy, evaluation.interval),
        "always the majority class": Value(evaluation.majority),
        "loss": Value(evaluation.loss),
        "calibration error": Value(evaluation.calibration_error),
    }
    certain = certain_share(run.predictions)
    if certain is not None:
        found["certain answers, share"] = Value(certain.coverage)
        if certain.accuracy is not None:
            found["certain answers, accuracy"] = Value(certain.accuracy, certain.interval)
    for row in class_rows(evaluation, run.classes):
        if row.recall.value is not None:
            found[f"recall of {row.name}"] = Value(row.recall.value, row.recall.interval)
    found[_SIZE] = Value(evaluation.cost.size_mb)
    found[_LATENCY] = Value(evaluation.cost.latency_ms)
    return found


def compare_answers(before: Run, after: Run) -> Paired | None:
    """The answers to the test photos that both runs have; None if there is none."""
    first, second = before.predictions, after.predictions
    place = {sha256: number for number, sha256 in enumerate(first.photos)}
    pairs = [
        (place[sha256], number)
        for number, sha256 in enumerate(second.photos)
        if sha256 in place
        and first.classes[first.labels[place[sha256]]] == second.classes[second.labels[number]]
    ]
    if not pairs:
        return None
    flips: dict[bool, list[Flip]] = {True: [], False: []}
    for one, other in pairs:
        if first.right[one] != second.right[other]:
            flips[bool(second.right[other])].append(
                Flip(
                    sha256=second.photos[other],
                    filename=second.filenames[other],
                    label=second.classes[second.labels[other]],
                    before=first.classes[first.predicted[one]],
                    after=second.classes[second.predicted[other]],
                    confidence=float(second.confidence[other]),
                )
            )
    gained, lost = (tuple(_surest(flips[right])) for right in (True, False))
    discordant = len(gained) + len(lost)
    return Paired(
        photos=len(pairs),
        before=sum(bool(first.right[one]) for one, _ in pairs) / len(pairs),
        after=sum(bool(second.right[other]) for _, other in pairs) / len(pairs),
        gained=gained,
        lost=lost,
        chance=float(binomtest(len(gained), discordant).pvalue) if discordant else 1.0,
    )


def _surest(flips: Sequence[Flip]) -> list[Flip]:
    return sorted(flips, key=lambda flip: -flip.confidence)
