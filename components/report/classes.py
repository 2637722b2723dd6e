"""The classes one by one, and which of them are taken for which."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.evaluation.chance import wilson_interval
from components.evaluation.figures import Evaluation


@dataclass(frozen=True)
class Rate:
    """A share of some photos, with its 95 % interval."""

    count: int
    photos: int

    @property
    def value(self) -> float | None:
        """None if there is no photo."""
        return self.count / self.photos if self.photos else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval; None if there is no photo."""
        return wilson_interval(self.count / self.photos, self.photos) if self.photos else None


@dataclass(frozen=True)
class ClassRow:
    """One class on the test photos."""

    name: str
    recall: Rate
    """Of the photos of this class, those that are told."""
    precision: Rate
    """Of the photos that are taken for this class, those that are of it."""


@dataclass(frozen=True)
class Confusion:
    """Photos of one class that are taken for another."""

    actual: str
    predicted: str
    photos: int
    share: float
    """Of the photos of the actual class."""


def class_rows(evaluation: Evaluation, classes: Sequence[str]) -> Iterator[ClassRow]:
    """The classes in the order of their ids."""
    columns = [sum(column) for column in zip(*evaluation.confusion, strict=True)]
    for number, name in enumerate(classes):
        row = evaluation.confusion[number]
        yield ClassRow(name, Rate(row[number], sum(row)), Rate(row[number], columns[number]))


def confusions(evaluation: Evaluation, classes: Sequence[str]) -> list[Confusion]:
    """Who is taken for whom, the commonest first."""
    found = [
        Confusion(actual, predicted, count, count / sum(row))
        for actual, row in zip(classes, evaluation.confusion, strict=True)
        for predicted, count in zip(classes, row, strict=True)
        if actual != predicted and count
    ]
    return sorted(found, key=lambda each: -each.photos)
