import csv
from pathlib import Path

from components.training.history import (
    Epoch,
    PhaseHistory,
    best_epoch,
    read_history,
    write_history,
)


def epoch(val_loss: float) -> Epoch:
    return {"accuracy": 0.1 + 0.2, "loss": 1.5, "val_accuracy": 1 / 3, "val_loss": val_loss}


FROZEN = PhaseHistory("frozen", [epoch(1.3), epoch(1.0), epoch(1.1)], kept=1)
UNFROZEN = PhaseHistory("unfrozen", [epoch(0.9), epoch(0.95)], kept=1)


def test_the_best_epoch_is_the_first_with_the_lowest_validation_loss() -> None:
    assert best_epoch([epoch(loss) for loss in (0.9, 0.5, 0.7, 0.5)]) == 1
    assert FROZEN.best == epoch(1.0)


def test_the_history_has_one_row_per_epoch(tmp_path: Path) -> None:
    write_history([FROZEN, UNFROZEN], tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("frozen", "1"),
        ("frozen", "2"),
        ("frozen", "3"),
        ("unfrozen", "1"),
        ("unfrozen", "2"),
    ]
    assert [row["kept"] for row in rows] == ["0", "1", "0", "0", "1"]
    assert [float(row["val_loss"]) for row in rows] == [1.3, 1.0, 1.1, 0.9, 0.95]
    assert list(rows[0]) == [
        "phase",
        "epoch",
        "accuracy",
        "loss",
        "val_accuracy",
        "val_loss",
        "kept",
    ]


def test_the_history_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_history([FROZEN, UNFROZEN], tmp_path / "history.csv")
    assert read_history(tmp_path / "history.csv") == [FROZEN, UNFROZEN]
