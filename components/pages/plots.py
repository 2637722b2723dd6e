"""Lines and dots over two axes as SVG, to be coloured by `theme.css`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

_WIDTH, _HEIGHT = 320, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 18, 18, 38

Style = Literal["first", "second", "third", "guide"]


@dataclass(frozen=True)
class Axis:
    """A range of values, and where it is labelled."""

    label: str
    least: float
    most: float
    ticks: Sequence[float]
    percent: bool = False

    def text(self, value: float) -> str:
        """A value as the axis shows it."""
        return f"{value:.0%}" if self.percent else f"{value:.3g}"


@dataclass(frozen=True)
class Dot:
    """A point with something to say."""

    x: float
    y: float
    words: str = ""
    radius: float = 2.5
    """Pixels at the drawing's own size."""


@dataclass(frozen=True)
class Line:
    """Points in the order in which they are joined."""

    style: Style
    points: Sequence[tuple[float, float]]
    dots: Sequence[Dot] = ()


@dataclass(frozen=True)
class Rule:
    """A vertical or horizontal line across the drawing, and what it stands for."""

    words: str = ""
    x: float | None = None
    y: float | None = None


SHARE = tuple(each / 4 for each in range(5))


def share_axis(label: str) -> Axis:
    """An axis of shares, from nothing to all."""
    return Axis(label, 0, 1, SHARE, percent=True)


def number_axis(label: str, values: Sequence[float], *, whole: bool = False) -> Axis:
    """An axis that holds all values and begins at 0, in 5 round steps or fewer.

    Args:
        label: what is measured.
        values: finite, 0 or more.
        whole: whether the ticks should be whole numbers.
    """
    most = max([*values, 1 if whole else 1e-9])
    steps = (digit * 10.0**power for power in range(0 if whole else -9, 16) for digit in (1, 2, 5))
    step = next(each for each in steps if most / each <= 5)
    ticks = [step * place for place in range(int(most / step + 1e-9) + 1)]
    return Axis(label, 0, most, ticks)


def plot(
    lines: Sequence[Line], *, x: Axis, y: Axis, title: str, rules: Sequence[Rule] = ()
) -> Markup:
    """A drawing of lines.

    Args:
        lines: the later ones over the earlier ones. Points beyond the axes are drawn at their ends.
        x: the horizontal axis.
        y: the vertical axis.
        title: what a screen reader says.
        rules: lines across the drawing.

    Returns:
        An `<svg>`.
    """
    place = _Place(x, y)
    parts = [*_grid(place)]
    for rule in rules:
        parts.append(_rule(place, rule))
    for line in lines:
        points = Markup(" ").join(
            Markup("{:.1f},{:.1f}").format(place.x(a), place.y(b)) for a, b in line.points
        )
        if len(line.points) > 1:
            parts.append(Markup('<polyline class="{}" points="{}"/>').format(line.style, points))
        for dot in line.dots:
            parts.append(
                Markup(
                    '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title>'
                    "</circle>"
                ).format(line.style, place.x(dot.x), place.y(dot.y), dot.radius, dot.words)
            )
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))


@dataclass(frozen=True)
class _Place:
    """Values to pixels."""

    across: Axis
    up: Axis

    def x(self, value: float) -> float:
        return _LEFT + _part(value, self.across) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - _part(value, self.up) * (_HEIGHT - _TOP - _BOTTOM)


def _part(value: float, axis: Axis) -> float:
    share = (value - axis.least) / (axis.most - axis.least)
    return min(1.0, max(0.0, share))


def _grid(place: _Place) -> list[Markup]:
    left, right = _LEFT, _WIDTH - _RIGHT
    bottom = _HEIGHT - _BOTTOM
    parts = []
    for value in place.up.ticks:
        at = place.y(value)
        parts.append(_line(left, at, right, at, "grid"))
        parts.append(_text(left - 5, at + 4, "end", place.up.text(value)))
    for value in place.across.ticks:
        parts.append(_text(place.x(value), bottom + 14, "middle", place.across.text(value)))
    parts.append(_text((left + right) / 2, _HEIGHT - 6, "middle", place.across.label))
    parts.append(_text(0, 11, "start", place.up.label))
    return parts


def _rule(place: _Place, rule: Rule) -> Markup:
    left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    if rule.x is not None:
        at = place.x(rule.x)
        late = at > left + 0.8 * (right - left)
        anchor, beside = ("end", at - 4) if late else ("start", at + 4)
        return _line(at, _TOP, at, bottom, "rule") + _text(beside, bottom - 6, anchor, rule.words)
    at = place.y(rule.y or 0)
    return _line(left, at, right, at, "rule") + _text(right, at - 4, "end", rule.words)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        style, x1, y1, x2, y2
    )


def _text(x: float, y: float, anchor: str, text: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, text
    )
