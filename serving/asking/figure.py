"""The figure of predictions: each photo above the bars of its probabilities.

Beside it, where the model tells, what in the photo speaks for the class.
"""

import math
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import BoxStyle, FancyBboxPatch, Rectangle
from matplotlib.textpath import text_to_path

from data.contract.errors import UsageError
from serving.asking.errors import ModelError
from serving.asking.prediction import Evidence, Prediction, centred_square


class Item(NamedTuple):
    """A photo (uint8 [H, W, 3] RGB, any size), its caption, and what the model says of it."""

    photo: np.ndarray
    caption: str
    prediction: Prediction
    evidence: Evidence | None = None


FORMATS = ("png", "pdf", "svg")
MAX_PHOTOS = 100
"""A picture of 53 megapixels; a larger one costs memory and is of no use to anybody."""

# Inches.
_CARD = 2.5
_GAP = 0.45
_MARGIN = 0.4
_SEAM = 0.15
_HEADLINE = 0.36
_BASELINE = 0.26
_ROW = 0.235
_THICKNESS = 0.12
_PERCENT = 0.42
_DPI = 200

# Emphasis is by lightness, weight and one hue, Okabe and Ito's blue (Color Universal Design,
# 2008), so that it survives every kind of colour vision and a grey printer.
_PAPER = "#ffffff"
_FAINT = "#f1f2f4"
_EDGE = "#d5d9df"
_INK = "#1b1f24"
_QUIET = "#69707a"
_LOSER = "#b9c1cc"
_WINNER = "#0072b2"
# Their vermilion, over a photo that is grey: of its own colours, any could be there.
_HEAT = LinearSegmentedColormap.from_list("heat", [(0.835, 0.369, 0, 0), (0.835, 0.369, 0, 0.75)])
_UNSEEN = 0.75
"""How much of what the model does not see is paper."""

_SMALL = FontProperties(family="DejaVu Sans", size=8)
_PLAIN = FontProperties(family="DejaVu Sans", size=8.5)
_BOLD = FontProperties(family="DejaVu Sans", size=8.5, weight="bold")
_TITLE = FontProperties(family="DejaVu Sans", size=13, weight="bold")


def figure_format(file: Path) -> str:
    """The format that the name of a figure file asks for: one of `FORMATS`.

    Raises:
        UsageError: it asks for none of them.
    """
    extension = file.suffix.lower().removeprefix(".")
    if extension not in FORMATS:
        allowed = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"{file} cannot be drawn: its name must end in one of {allowed}")
    return extension


def draw_predictions(items: Sequence[Item], file: Path) -> None:
    """Write the figure of `items` (see `predictions_figure`) to `file`, whole or not at all.

    Raises:
        UsageError: unknown extension.
        ModelError: no photo or too many, or `file` cannot be written.
    """
    kind = figure_format(file)
    figure = predictions_figure(items)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        try:
            figure.savefig(unfinished, format=kind, dpi=_DPI)
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(
            f"{file} cannot be written ({error.strerror}): name a file in a folder you can write to"
        ) from error


def predictions_figure(items: Sequence[Item]) -> Figure:
    """A grid of cards: the photo, uncropped, then the answer and a bar for every class.

    Where there is evidence, the photo is beside it again, grey, under what speaks for the class.
    All bars have one scale, from 0 to 1 at the full width of their track, and keep the model's
    order of classes, so that cards can be compared.

    Raises:
        ModelError: no photo, or more than `MAX_PHOTOS`.
    """
    if not 1 <= len(items) <= MAX_PHOTOS:
        raise ModelError(f"a figure shows 1 to {MAX_PHOTOS} photos, not {len(items)}: name fewer")
    explained = any(item.evidence for item in items)
    card_width = 2 * _CARD + _SEAM if explained else _CARD
    columns = _columns(len(items), explained=explained)
    rows = math.ceil(len(items) / columns)
    classes = max(len(item.prediction.probabilities) for item in items)
    card_height = _CARD + _HEADLINE + classes * _ROW
    width = 2 * _MARGIN + columns * card_width + (columns - 1) * _GAP
    height = 2 * _MARGIN + rows * card_height + (rows - 1) * _GAP
    figure = Figure(figsize=(width, height), facecolor=_PAPER)
    for index, item in enumerate(items):
        row, column = divmod(index, columns)
        left = _MARGIN + column * (card_width + _GAP)
        top = _MARGIN + row * (card_height + _GAP)
        _draw_card(figure, left, top, item)
    return figure


def _columns(photos: int, *, explained: bool) -> int:
    """Four fit a page; a larger number makes a grid somewhat wider than tall."""
    if explained:
        return math.ceil(_columns(photos, explained=False) / 2)
    if photos <= 4:
        return photos
    if photos <= 6:
        return 3
    return max(4, math.ceil(math.sqrt(1.5 * photos)))


def _draw_card(figure: Figure, left: float, top: float, item: Item) -> None:
    photo, caption, prediction, evidence = item
    classes = len(prediction.probabilities)
    _draw_photo(_axes(figure, left, top, _CARD, _CARD), photo)
    below = top + _CARD
    headline = _axes(figure, left, below, _CARD, _HEADLINE)
    _draw_headline(headline, prediction.answer, caption)
    _draw_bars(_axes(figure, left, below + _HEADLINE, _CARD, _ROW * classes), prediction)
    if evidence:
        left += _CARD + _SEAM
        _draw_evidence(_axes(figure, left, top, _CARD, _CARD), photo, evidence)
        legend = _axes(figure, left, below, _CARD, _HEADLINE + 2 * _ROW)
        _draw_legend(legend, evidence, cropped=photo.shape[0] != photo.shape[1])


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Bare axes whose data units are inches, from their upper left corner."""
    page = figure.get_size_inches()
    x, y = left / page[0], 1 - (top + height) / page[1]
    axes = figure.add_axes((x, y, width / page[0], height / page[1]))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def _draw_photo(axes: Axes, photo: np.ndarray) -> FancyBboxPatch:
    """The whole photo, as large as fits, in the middle of a rounded mat, which is returned."""
    rounded = BoxStyle.Round(pad=0, rounding_size=0.08)
    mat = FancyBboxPatch((0, 0), _CARD, _CARD, rounded, facecolor=_FAINT, linewidth=0)
    # Drawn over the photo: gives one with white borders an outline.
    edge = FancyBboxPatch(
        (0, 0), _CARD, _CARD, rounded, fill=False, edgecolor=_EDGE, linewidth=0.6, zorder=3
    )
    edge.set_clip_on(False)
    axes.add_patch(mat)
    axes.add_patch(edge)
    height, width = photo.shape[:2]
    extent = _extent(width / max(height, width), height / max(height, width))
    image = axes.imshow(photo, extent=extent, aspect="auto", interpolation="lanczos", zorder=2)
    image.set_clip_path(mat)
    axes.set(xlim=(0, _CARD), ylim=(_CARD, 0))  # imshow fitted them to the photo
    return mat


def _extent(width: float, height: float) -> tuple[float, float, float, float]:
    """Where a picture of such a share of a card's width and height lies in the middle of it."""
    x, y = (1 - width) / 2 * _CARD, (1 - height) / 2 * _CARD
    return x, _CARD - x, _CARD - y, y


def _draw_evidence(axes: Axes, photo: np.ndarray, evidence: Evidence) -> None:
    """The photo in grey, pale where the model does not see it, under what speaks for the class."""
    height, width = photo.shape[:2]
    top, left, side = centred_square(height, width)
    grey = photo @ np.array([0.299, 0.587, 0.114])  # Rec. 601 luma
    pale = grey * (1 - _UNSEEN) + 255 * _UNSEEN
    seen = np.s_[top : top + side, left : left + side]
    pale[seen] = grey[seen]
    levels = np.rint(pale).astype(np.uint8)
    mat = _draw_photo(axes, np.repeat(levels[..., np.newaxis], 3, axis=2))
    share = side / max(height, width)
    heat = axes.imshow(
        evidence.shares,
        cmap=_HEAT,
        vmin=0,
        vmax=1,
        extent=_extent(share, share),
        aspect="auto",
        interpolation="bicubic",
        interpolation_stage="data",
        zorder=2,
    )
    heat.set_clip_path(mat)
    axes.set(xlim=(0, _CARD), ylim=(_CARD, 0))


def _draw_legend(axes: Axes, evidence: Evidence, *, cropped: bool) -> None:
    something = bool(evidence.shares.any())
    words = f"{'what' if something else 'nothing'} speaks for {evidence.label}"
    _write(axes, 0, _BASELINE, _fit(words, _PLAIN, _CARD), _PLAIN, _INK)
    row = _HEADLINE + 0.5 * _ROW
    if something:
        start, end = (_width(word, _SMALL) + 0.1 for word in ("nothing", "most"))
        _write(axes, 0, row, "nothing", _SMALL, _QUIET, va="center_baseline")
        _write(axes, _CARD, row, "most", _SMALL, _QUIET, "right", "center_baseline")
        scale = (start, _CARD - end, row + _THICKNESS / 2, row - _THICKNESS / 2)
        axes.imshow(np.linspace(0, 1, 256)[np.newaxis], cmap=_HEAT, extent=scale, aspect="auto")
        axes.set(xlim=(0, _CARD), ylim=(_HEADLINE + 2 * _ROW, 0))
        row += _ROW
    if cropped:
        _write(axes, 0, row, "pale: not seen by the model", _SMALL, _QUIET, va="center_baseline")


def _draw_headline(axes: Axes, answer: str, caption: str) -> None:
    title = _fit(answer, _TITLE, 0.6 * _CARD)
    name = _fit(caption, _SMALL, _CARD - _width(title, _TITLE) - 0.15)
    _write(axes, 0, _BASELINE, title, _TITLE, _INK)
    _write(axes, _CARD, _BASELINE, name, _SMALL, _QUIET, ha="right")


def _draw_bars(axes: Axes, prediction: Prediction) -> None:
    names = {label: _fit(label, _BOLD, 0.45 * _CARD) for label in prediction.probabilities}
    start = max(_width(name, _BOLD) for name in names.values()) + 0.1
    track = _CARD - start - _PERCENT
    for row, (label, probability) in enumerate(prediction.probabilities.items()):
        wins = label == prediction.answer
        font, ink, colour = (_BOLD, _INK, _WINNER) if wins else (_PLAIN, _QUIET, _LOSER)
        middle = (row + 0.5) * _ROW
        _write(axes, 0, middle, names[label], font, ink, va="center_baseline")
        _write(axes, _CARD, middle, f"{probability:.0%}", font, ink, "right", "center_baseline")
        for length, fill in ((1.0, _FAINT), (probability, colour)):
            axes.add_patch(
                Rectangle(
                    (start, middle - _THICKNESS / 2), length * track, _THICKNESS, facecolor=fill
                )
            )


def _write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    font: FontProperties,
    colour: str,
    ha: Literal["left", "right"] = "left",
    va: Literal["baseline", "center_baseline"] = "baseline",
) -> None:
    # A dollar sign in a file name does not start a formula.
    axes.text(x, y, text, fontproperties=font, color=colour, ha=ha, va=va, parse_math=False)


def _fit(text: str, font: FontProperties, room: float) -> str:
    """`text` in at most `room` inches, its middle left out when it is longer.

    The end of a file name tells as much as its beginning. Letters that the font lacks become
    question marks.
    """
    letters = "".join(letter if ord(letter) in _drawable(font) else "?" for letter in text)
    fitted, kept = letters, len(letters)
    while kept > 2 and _width(fitted, font) > room:
        kept -= 1
        fitted = letters[: math.ceil(kept / 2)] + "…" + letters[-(kept // 2) :]
    return fitted


@cache
def _drawable(font: FontProperties) -> frozenset[int]:
    return frozenset(get_font(findfont(font)).get_charmap())


def _width(text: str, font: FontProperties) -> float:
    """Inches."""
    points, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return float(points) / 72
