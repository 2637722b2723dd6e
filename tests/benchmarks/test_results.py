import json
from pathlib import Path

import pytest

from benchmarks.results import Ratio, extrapolate, merge, of_pairs, of_repeats


def test_a_row_ends_with_its_goal_if_it_has_one() -> None:
    assert Ratio("keras", 6.25, 6, 7.5, 6).line == "ratio keras 6.250 [6.000, 7.500] goal 6"
    assert Ratio("accuracy", 0.01, -0.02, 0.04, -0.01).line.endswith("[-0.020, 0.040] goal -0.01")
    assert Ratio("fastai", 9, 8, 10).line == "ratio fastai 9.000 [8.000, 10.000]"


def test_pairs_are_divided_repeat_by_repeat() -> None:
    row = of_pairs("keras", peer=[60, 100, 70], ours=[10, 50, 10], goal=6)
    assert row == Ratio("keras", median=6, low=2, high=7, goal=6)


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        of_pairs("keras", peer=[60, 100], ours=[10])


def test_repeats_give_median_least_and_greatest() -> None:
    assert of_repeats("share", [0.9, 0.7, 0.8]) == Ratio("share", 0.8, 0.7, 0.9)


def test_epochs_are_multiplied_phase_by_phase() -> None:
    assert extrapolate({"frozen": 2.0, "unfrozen": 3.0}, {"frozen": 1, "unfrozen": 19}) == 59


def test_rows_are_merged_by_name(tmp_path: Path) -> None:
    file = tmp_path / "new" / "results.json"
    merge(file, [Ratio("a", 1, 1, 1), Ratio("b", 2, 1, 3, 2)], "one", {"keras": "1", "torch": "1"})
    merge(file, [Ratio("c", 1, 1, 1), Ratio("a", 1.23456, 1, 2)], "two", {"keras": "2"})
    assert json.loads(file.read_text()) == {
        "machine": "two",
        "versions": {"keras": "2", "torch": "1"},
        "ratios": [
            {"name": "a", "median": 1.2346, "low": 1, "high": 2},
            {"name": "b", "median": 2, "low": 1, "high": 3, "goal": 2},
            {"name": "c", "median": 1, "low": 1, "high": 1},
        ],
    }
    assert list(file.parent.iterdir()) == [file]
