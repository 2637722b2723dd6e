from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from components.training.curves import curves_figure
from components.training.history import Epoch, PhaseHistory


def epoch(accuracy: float, val_accuracy: float, val_loss: float) -> Epoch:
    return {
        "accuracy": accuracy,
        "loss": 1.5 - accuracy,
        "val_accuracy": val_accuracy,
        "val_loss": val_loss,
    }


FROZEN = PhaseHistory(
    "frozen", [epoch(0.3, 0.35, 1.3), epoch(0.4, 0.5, 1.0), epoch(0.45, 0.48, 1.1)], kept=1
)
UNFROZEN = PhaseHistory("unfrozen", [epoch(0.6, 0.55, 0.9), epoch(0.7, 0.58, 0.95)], kept=0)


def line(axes: Axes, label: str) -> Line2D:
    return next(each for each in axes.lines if each.get_label() == label)


def points(each: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(each.get_xydata())]


def dashed(axes: Axes) -> list[float]:
    """Where there are upright dashed lines."""
    return [
        float(np.asarray(each.get_xdata())[0])
        for each in axes.lines
        if each.get_linestyle() == "--"
    ]


def test_both_phases_are_one_curve_over_all_epochs() -> None:
    accuracy, loss = curves_figure([FROZEN, UNFROZEN]).axes
    assert points(line(accuracy, "training, augmented")) == [
        (1, 0.3),
        (2, 0.4),
        (3, 0.45),
        (4, 0.6),
        (5, 0.7),
    ]
    assert [y for _, y in points(line(accuracy, "validation"))] == [0.35, 0.5, 0.48, 0.55, 0.58]
    assert [y for _, y in points(line(loss, "training, augmented"))] == pytest.approx(
        [1.2, 1.1, 1.05, 0.9, 0.8]
    )
    assert [y for _, y in points(line(loss, "validation"))] == [1.3, 1.0, 1.1, 0.9, 0.95]


def test_the_unfreezing_is_marked_between_the_phases_and_both_are_named() -> None:
    for axes in curves_figure([FROZEN, UNFROZEN]).axes:
        assert dashed(axes) == [3.5]
        places = {text.get_text(): text.get_position()[0] for text in axes.texts}
        assert places == {"frozen": 2, "unfrozen": 4.5}


def test_a_dot_marks_the_epoch_each_phase_kept() -> None:
    accuracy, loss = curves_figure([FROZEN, UNFROZEN]).axes
    assert points(line(accuracy, "kept by the phase")) == [(2, 0.5), (4, 0.55)]
    assert points(line(loss, "kept by the phase")) == [(2, 1.0), (4, 0.9)]


def test_one_phase_alone_has_no_unfreezing() -> None:
    for axes in curves_figure([UNFROZEN]).axes:
        assert dashed(axes) == []
        assert [text.get_text() for text in axes.texts] == ["unfrozen"]
    assert points(line(curves_figure([UNFROZEN]).axes[1], "kept by the phase")) == [(1, 0.9)]


def test_axes_say_what_they_show_and_one_legend_explains_the_lines() -> None:
    figure = curves_figure([FROZEN, UNFROZEN])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Accuracy",
        "Loss (cross-entropy)",
    ]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert legend(figure) == ["training, augmented", "validation", "kept by the phase"]


def legend(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def test_the_figure_can_be_saved(tmp_path: Path) -> None:
    curves_figure([FROZEN, UNFROZEN]).savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
