"""The gate: what a model must reach to be pushed, and what each verdict is worth."""

from collections.abc import Iterator

import numpy as np

from components.evaluation.chance import (
    CAUGHT,
    caught_loss,
    chance_to_catch,
    chance_to_pass,
    critical_gain,
    highest_calibration_error,
    highest_share,
)
from components.evaluation.figures import Comparison, Condition, Figures
from components.evaluation.settings import GateSettings

MAJORITY = "accuracy above the majority class"
FLOOR = "accuracy floor"
RECALL = "recall of each class"
CALIBRATION = "calibration error"
SIZE = "size of the model"
LATENCY = "time for one photo"
NOT_WORSE_THAN_LAST = "not worse than the last pushed"
NOT_WORSE_THAN_BEST = "not worse than the best before"

LUCK = 0.001
"""The probability from which a remark warns that guessing passes."""
LOSS = 0.03
"""The true loss of accuracy of which a remark says how likely it would have been caught."""

RECALL_SHARE = CALIBRATION_SHARE = 0.1
"""What these two conditions take of the error rate; the comparisons share the rest."""


def judge(figures: Figures, gate: GateSettings) -> list[Condition]:
    """Judges a model; it is pushed if it passes every condition.

    The lower bound of the accuracy has to show that the model is good. The conditions on recall,
    calibration and earlier models block it only if the photos speak against it: together they block
    a model that meets them in at most `gate.error_rate` of all cases (Bonferroni).

    Args:
        figures: what was measured.
        gate: the limits.
    """
    return [
        *_accuracy(figures, gate),
        _recall(figures, gate),
        _calibration(figures, gate),
        _at_most(SIZE, gate.size_mb, figures.cost.size_mb, "MB"),
        _at_most(LATENCY, gate.latency_ms, figures.cost.latency_ms, "ms"),
        *_comparisons(figures, gate),
    ]


def _accuracy(figures: Figures, gate: GateSettings) -> Iterator[Condition]:
    low, _ = figures.interval
    limits = {MAJORITY: max(0.0, figures.majority + gate.over_majority)}
    if gate.accuracy_floor is not None:
        limits[FLOOR] = gate.accuracy_floor
    for name, limit in limits.items():
        luck = chance_to_pass(limit, classes=len(figures.confusion), photos=figures.photos)
        remark = f"lower 95 % bound of {figures.accuracy:.3f}"
        if luck >= LUCK:
            remark += f"; guessing passes in {luck:.1%} of cases"
        yield Condition(name, limit, low, low >= limit, remark=remark)


def _recall(figures: Figures, gate: GateSettings) -> Condition:
    classes = len(figures.confusion)
    floor = 1 / (2 * classes) if gate.recall_floor is None else gate.recall_floor
    error_rate = RECALL_SHARE * gate.error_rate / classes
    found = []
    told = [(row[number], sum(row)) for number, row in enumerate(figures.confusion) if any(row)]
    for name, (right, photos) in zip(figures.recall, told, strict=True):
        highest = highest_share(right, photos, error_rate)
        found.append((highest >= floor, right / photos, highest, right, photos, name))
    passed, recall, highest, right, photos, name = min(found)
    remark = f"{name}: {right} of {photos} photos"
    if passed and recall < floor:
        remark += f"; so few do not rule out {highest:.2f}"
    return Condition(RECALL, floor, recall, passed, remark=remark)


def _calibration(figures: Figures, gate: GateSettings) -> Condition:
    limit = highest_calibration_error(
        figures.bins, gate.calibration_error, CALIBRATION_SHARE * gate.error_rate
    )
    measured = figures.calibration_error
    remark = (
        f"a true error of {gate.calibration_error:g} on {figures.photos} photos may "
        "measure as much by chance"
    )
    return Condition(CALIBRATION, limit, measured, measured <= limit, at_least=False, remark=remark)


def _at_most(name: str, limit: float, measured: float, unit: str) -> Condition:
    return Condition(name, limit, measured, measured <= limit, at_least=False, unit=unit)


def _comparisons(figures: Figures, gate: GateSettings) -> Iterator[Condition]:
    """The last pushed model and the best of the others.

    The best is the best by chance as well. So each of the others gets an equal part of the error
    rate, and the one that is chosen is tested with its part.
    """
    error_rate = (1 - RECALL_SHARE - CALIBRATION_SHARE) * gate.error_rate
    last = error_rate / 2 if figures.others else error_rate
    yield _not_worse(NOT_WORSE_THAN_LAST, figures.last, figures.photos, last)
    best = error_rate / 2 / max(1, figures.others)
    yield _not_worse(NOT_WORSE_THAN_BEST, figures.best, figures.photos, best)


def _not_worse(name: str, other: Comparison | str, photos: int, error_rate: float) -> Condition:
    """The exact test of McNemar, as the least change of accuracy that passes."""
    if isinstance(other, str):
        return Condition(name, None, None, passed=True, remark=other)
    discordant = other.gained + other.lost
    least = int(critical_gain(np.array(discordant), error_rate)) + 1
    remark = f"from {other.accuracy:.3f}: {other.gained} photos gained, {other.lost} lost; "
    test = {"discordant": discordant, "photos": photos, "error_rate": error_rate}
    remark += (
        f"a true loss of {100 * LOSS:g} points would have been caught with probability "
        f"{chance_to_catch(LOSS, **test):.2f}"
    )
    caught = caught_loss(**test)
    if caught is None:
        remark += f", and none with {CAUGHT:g}"
    else:
        remark += f", one of {100 * caught:.1f} with {CAUGHT:g}"
    return Condition(
        name,
        limit=(2 * least - discordant) / photos,
        measured=(other.gained - other.lost) / photos,
        passed=other.gained >= least,
        remark=remark,
    )
