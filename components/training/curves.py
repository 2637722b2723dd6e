"""The training curves: a picture of accuracy and loss by epoch."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.training.history import PhaseHistory

_TRAIN_COLOUR, _VAL_COLOUR = "#0072B2", "#D55E00"  # Okabe and Ito's colour-blind-safe pair


def curves_figure(phases: Sequence[PhaseHistory]) -> Figure:
    """Accuracy and loss by epoch, training and validation, with the unfreezing marked.

    Args:
        phases: in the order they ran, at least one.

    Returns:
        A figure of two axes side by side; a dot marks the epoch each phase ends with.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    accuracy, loss = figure.subplots(1, 2)
    _draw(accuracy, phases, "accuracy", "Accuracy")
    _draw(loss, phases, "loss", "Loss (cross-entropy)")
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw(axes: Axes, phases: Sequence[PhaseHistory], metric: str, title: str) -> None:
    epochs = [epoch for phase in phases for epoch in phase.history]
    numbers = range(1, len(epochs) + 1)
    for key, colour, label in (
        (metric, _TRAIN_COLOUR, "training, augmented"),
        (f"val_{metric}", _VAL_COLOUR, "validation"),
    ):
        axes.plot(numbers, [epoch[key] for epoch in epochs], ".-", color=colour, label=label, lw=2)
    start, kept = 0.5, []
    for phase in phases:
        kept.append((start + 0.5 + phase.kept, phase.best[f"val_{metric}"]))
        if start > 0.5:
            axes.axvline(start, color="0.5", linestyle="--", linewidth=1)
        end = start + len(phase.history)
        axes.text(
            (start + end) / 2,
            1.01,
            phase.name.replace(" ", "\n"),  # a member of an ensemble, and its phase
            fontsize="medium" if len(phases) <= 2 else "x-small",
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            color="0.35",
        )
        start = end
    axes.plot(*zip(*kept, strict=True), "o", color=_VAL_COLOUR, ms=9, label="kept by the phase")
    axes.set_xlim(0.5, start)
    axes.set_title(title, loc="left", fontweight="bold", pad=20 if len(phases) <= 2 else 28)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
