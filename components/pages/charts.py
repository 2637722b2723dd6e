"""Charts as SVG, to be coloured by `theme.css`."""

import math
from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT = 320, 150
_TOP, _BOTTOM = 16, 18
"""What the numbers above and below the bars take."""


def histogram(values: Sequence[float], *, step: float, title: str, unit: str = "") -> Markup:
    """How many values fall into each interval of equal width.

    Args:
        values: finite; beyond the 99th percentile they are counted in the last interval, so that
            one of them cannot make all the others thin.
        step: the width of an interval, or half, a fifth or a tenth of it: 40 bars at most.
        title: what a screen reader says.
        unit: behind the values, as in ` px`.

    Returns:
        An `<svg>`; empty if there are no values.
    """
    if not values:
        return Markup("")
    ordered = sorted(values)
    most, largest = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], ordered[-1]
    first, step = _grid(ordered[0], most, step)
    bars = max(1, math.floor((most - first) / step) + 1)
    counts = [0] * bars
    for value in ordered:
        counts[min(bars - 1, int((value - first) / step))] += 1
    beyond = largest >= first + bars * step
    parts = [_bar(i, counts, first, step, unit, beyond) for i in range(bars)]
    base = _HEIGHT - _BOTTOM
    parts.append(Markup('<line x1="0" y1="{0}" x2="{1}" y2="{0}"/>').format(base, _WIDTH))
    middle = [(bars // 2, "middle")] if bars > 3 else []
    for at, anchor in ((0, "start"), *middle, (bars, "end")):
        text = _number(first + at * step) + unit
        if at == bars and beyond:
            text = f"up to {_number(largest)}{unit}"
        parts.append(_text(at * _WIDTH / bars, _HEIGHT - 4, anchor, text))
    peak = max(counts)
    place = counts.index(peak)
    anchor = "start" if place < bars / 4 else "end" if place > 3 * bars / 4 else "middle"
    x = place + {"start": 0, "middle": 0.5, "end": 1}[anchor]
    parts.append(_text(x * _WIDTH / bars, _TOP - 4, anchor, f"{peak:,}"))
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, title, Markup("").join(parts))


def stack(counts: Sequence[int], *, most: int) -> Markup:
    """Up to three numbers as lengths in one bar.

    Args:
        counts: each 0 or more.
        most: the sum that takes the whole width.
    """
    scale, at, parts = 100 / max(1, most), 0.0, []
    for count in counts:
        width = count * scale
        parts.append(Markup('<rect x="{:.2f}" width="{:.2f}" height="10"/>').format(at, width))
        at += width
    return Markup(
        '<svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        "{}</svg>"
    ).format(Markup("").join(parts))


def _grid(least: float, most: float, step: float) -> tuple[float, float]:
    """Where the first interval begins, and a step with which there are at most 40."""
    factors = (10.0**power * digit for power in range(12) for digit in (1, 2, 5))
    for factor in factors:
        wide = step * factor
        first = math.floor(least / wide) * wide
        if (most - first) / wide < 40:
            return first, wide
    raise ValueError(f"{least} to {most} in steps of {step}")


def _bar(
    index: int, counts: Sequence[int], first: float, step: float, unit: str, beyond: bool
) -> Markup:
    width = _WIDTH / len(counts)
    height = (_HEIGHT - _TOP - _BOTTOM) * counts[index] / max(counts)
    start = first + index * step
    last = beyond and index == len(counts) - 1
    what = "and more" if last else f"to {_number(start + step)}"
    return Markup(
        '<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"><title>{}</title></rect>'
    ).format(
        index * width + 0.5,
        _HEIGHT - _BOTTOM - height,
        max(0.5, width - 1),
        height,
        f"{_number(start)} {what}{unit}: {counts[index]:,}",
    )


def _text(x: float, y: float, anchor: str, text: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
