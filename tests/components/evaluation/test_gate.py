"""Each condition of the gate, apart from where its figures come from."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.evaluation.chance import wilson_interval
from components.evaluation.figures import Comparison, Figures
from components.evaluation.gate import (
    CALIBRATION,
    FLOOR,
    LATENCY,
    MAJORITY,
    NOT_WORSE_THAN_BEST,
    NOT_WORSE_THAN_LAST,
    RECALL,
    SIZE,
    judge,
)
from components.evaluation.settings import GateSettings
from components.reliability import Bin
from data.contract.servable import Cost

PHOTOS = 600
DEFAULT = GateSettings()


def figures(**changes: Any) -> Figures:
    """A model that passes every condition: half of 600 photos right, in four even classes."""
    return replace(
        Figures(
            photos=PHOTOS,
            accuracy=0.5,
            interval=wilson_interval(0.5, PHOTOS),
            majority=0.25,
            loss=1.2,
            recall={"angry": 0.5, "happy": 0.5, "relaxed": 0.5, "sad": 0.5},
            confusion=(75 * np.eye(4) + 25 * (1 - np.eye(4))).astype(int).tolist(),
            calibration_error=0.03,
            bins=[Bin(300, 0.4, 0.4), Bin(300, 0.6, 0.6)],
            cost=Cost(size_mb=17, latency_ms=30),
            last=Comparison(accuracy=0.5, loss=1.2, gained=60, lost=60),
            best=Comparison(accuracy=0.52, loss=1.2, gained=60, lost=70),
            others=3,
            test_looks=5,
            slices=[],
        ),
        **changes,
    )


def failed(found: Figures, gate: GateSettings = DEFAULT) -> set[str]:
    return {condition.name for condition in judge(found, gate) if not condition.passed}


def with_recall(right: int, photos: int = 150) -> dict[str, Any]:
    """The changes that give the class `sad` a recall."""
    confusion = [*figures().confusion[:3], [photos - right, 0, 0, right]]
    return {"confusion": confusion, "recall": {**figures().recall, "sad": right / photos}}


def test_a_good_model_passes_every_condition() -> None:
    conditions = judge(figures(), GateSettings(accuracy_floor=0.45))
    assert [condition.name for condition in conditions] == [
        MAJORITY,
        FLOOR,
        RECALL,
        CALIBRATION,
        SIZE,
        LATENCY,
        NOT_WORSE_THAN_LAST,
        NOT_WORSE_THAN_BEST,
    ]
    assert all(condition.passed for condition in conditions)
    for condition in conditions:
        assert condition.limit is not None
        assert condition.measured is not None
        if condition.at_least:
            assert condition.measured >= condition.limit
        else:
            assert condition.measured <= condition.limit


@pytest.mark.parametrize(
    ("changes", "gate", "name"),
    [
        ({"majority": 0.47}, {}, MAJORITY),
        ({"majority": 0.3}, {"over_majority": 0.2}, MAJORITY),
        ({}, {"accuracy_floor": 0.47}, FLOOR),
        (with_recall(5), {}, RECALL),
        ({}, {"recall_floor": 0.7}, RECALL),
        ({"calibration_error": 0.15}, {}, CALIBRATION),
        ({"calibration_error": 0.09}, {"calibration_error": 0.0}, CALIBRATION),
        ({"cost": Cost(size_mb=501, latency_ms=30)}, {}, SIZE),
        ({"cost": Cost(size_mb=17, latency_ms=30)}, {"size_mb": 16}, SIZE),
        ({"cost": Cost(size_mb=17, latency_ms=1001)}, {}, LATENCY),
        ({"cost": Cost(size_mb=17, latency_ms=30)}, {"latency_ms": 29}, LATENCY),
        ({"last": Comparison(0.6, 1.0, gained=40, lost=100)}, {}, NOT_WORSE_THAN_LAST),
        ({"best": Comparison(0.6, 1.0, gained=40, lost=100)}, {}, NOT_WORSE_THAN_BEST),
    ],
)
def test_each_condition_alone_blocks(
    changes: dict[str, Any], gate: dict[str, Any], name: str
) -> None:
    assert failed(figures(**changes), GateSettings(**gate)) == {name}


def test_the_lower_bound_counts_and_not_the_accuracy() -> None:
    low, _ = figures().interval
    assert low < 0.47 < 0.5
    assert failed(figures(majority=low - 0.001)) == set()
    assert failed(figures(majority=low + 0.001)) == {MAJORITY}
    assert failed(figures(), GateSettings(accuracy_floor=low - 0.001)) == set()
    assert failed(figures(), GateSettings(accuracy_floor=low + 0.001)) == {FLOOR}


def test_a_floor_that_guessing_passes_is_told() -> None:
    (luck, *_) = judge(figures(majority=0.2), GateSettings())
    assert "guessing passes in" in luck.remark
    (sure, *_) = judge(figures(majority=0.4), GateSettings())
    assert "guessing" not in sure.remark


def test_a_class_is_blocked_only_if_its_photos_speak_against_it() -> None:
    assert failed(figures(**with_recall(0, photos=3))) == set()
    conditions = judge(figures(**with_recall(0, photos=3)), DEFAULT)
    (recall,) = (each for each in conditions if each.name == RECALL)
    assert recall.remark == "sad: 0 of 3 photos; so few do not rule out 0.89"
    assert failed(figures(**with_recall(0, photos=150))) == {RECALL}
    assert failed(figures(**with_recall(45, photos=150))) == set()


def test_a_class_without_test_photos_has_no_recall_to_judge_and_the_others_have() -> None:
    confusion = [[0, 0, 0, 0], *figures().confusion[1:]]
    recall = {"happy": 0.5, "relaxed": 0.5, "sad": 0.5}
    assert failed(figures(confusion=confusion, recall=recall)) == set()
    confusion[3] = [50, 50, 50, 0]
    assert failed(figures(confusion=confusion, recall=recall | {"sad": 0.0})) == {RECALL}


def test_the_fewer_photos_the_more_may_the_calibration_error_measure() -> None:
    few = figures(bins=[Bin(15, 0.4, 0.4), Bin(15, 0.6, 0.6)])
    limits = []
    for found in (few, figures(), figures(bins=[Bin(30_000, 0.4, 0.4), Bin(30_000, 0.6, 0.6)])):
        (condition,) = (each for each in judge(found, DEFAULT) if each.name == CALIBRATION)
        assert condition.limit is not None
        limits.append(condition.limit)
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == pytest.approx(0.05, abs=0.01)


def test_where_there_is_nothing_to_compare_with_the_table_says_why() -> None:
    *_, last, best = judge(figures(last="none was pushed", best="not known", others=0), DEFAULT)
    for condition, why in ((last, "none was pushed"), (best, "not known")):
        assert condition.passed
        assert (condition.limit, condition.measured, condition.remark) == (None, None, why)


def test_a_comparison_says_what_it_would_have_caught() -> None:
    *_, last, _ = judge(figures(), DEFAULT)
    assert last.measured == 0
    assert last.remark.startswith(
        "from 0.500: 60 photos gained, 60 lost; a true loss of 3 points would have been caught "
        "with probability 0."
    )
    assert last.remark.endswith(" with 0.8")


def test_a_loss_within_the_limit_passes_and_one_photo_more_does_not() -> None:
    for lost in range(60, 200):
        found = figures(last=Comparison(0.5, 1.2, gained=60, lost=lost))
        (last,) = (each for each in judge(found, DEFAULT) if each.name == NOT_WORSE_THAN_LAST)
        assert last.passed == (last.measured >= last.limit)  # type: ignore[operator]
    assert not last.passed


def test_the_more_versions_the_best_is_chosen_from_the_more_it_may_be_better() -> None:
    best = Comparison(0.56, 1.1, gained=50, lost=80)
    assert NOT_WORSE_THAN_BEST in failed(figures(best=best, others=1))
    assert NOT_WORSE_THAN_BEST not in failed(figures(best=best, others=100))


def test_without_an_error_rate_nothing_is_blocked_by_chance() -> None:
    worse = Comparison(0.9, 0.3, gained=0, lost=300)
    none = GateSettings(error_rate=0, over_majority=-1, calibration_error=1)
    assert failed(figures(last=worse, best=worse, **with_recall(0)), none) == set()
