import numpy as np
import pytest

from benchmarks import accuracy
from benchmarks.accuracy import difference


def test_the_same_answers_leave_no_difference() -> None:
    answers = np.random.default_rng(0).integers(0, 2, (1, 200)).tolist()
    row = difference("accuracy", answers, answers, -0.01)
    assert (row.median, row.low, row.high) == (0, 0, 0)


def test_the_interval_covers_the_difference_of_the_populations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Photos differ in difficulty and seeds in quality: 95 %, within counting error."""
    monkeypatch.setattr(accuracy, "RESAMPLES", 400)
    covered = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        hardness = rng.normal(0, 1, 300)

        def answers(skill: float) -> list[list[int]]:
            noise = rng.normal(skill, 1, (3, 300)) + rng.normal(0, 0.05, (3, 1))  # noqa: B023
            return (noise > hardness).astype(int).tolist()  # noqa: B023

        row = difference("accuracy", answers(0.2), answers(0.0), 0)
        covered += row.low <= 0.0562 <= row.high
    assert covered >= 180


def test_pairing_narrows_the_interval() -> None:
    """Photos that both get right or wrong say nothing about their difference."""
    peer = [[1, 0] * 100] * 3
    ours = [[1, 0] * 95 + [1, 1] * 5] * 3
    row = difference("accuracy", ours, peer, 0)
    assert row.median == pytest.approx(0.025)
    assert 0 < row.low < row.high < 0.06
