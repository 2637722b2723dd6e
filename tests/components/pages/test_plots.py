import re
import xml.etree.ElementTree as ET

import pytest

from components.pages.plots import Dot, Line, Rule, number_axis, plot, share_axis


def drawn(**options: object) -> ET.Element:
    line = Line("first", [(0, 0), (0.5, 1), (1, 0.25)], [Dot(0.5, 1, "the top & <more>")])
    axes = {"x": share_axis("sure"), "y": share_axis("right")}
    return ET.fromstring(plot([line], **axes, title="A plot", **options))  # type: ignore[arg-type]


def test_a_line_is_where_its_values_are() -> None:
    svg = drawn()
    (line,) = svg.findall("polyline")
    points = [tuple(map(float, each.split(","))) for each in line.attrib["points"].split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y0 - y1 == pytest.approx(4 * (y0 - y2), abs=0.2)
    assert svg.attrib["aria-label"] == "A plot"
    assert svg.findtext(".//title") == "the top & <more>"


def test_both_axes_are_named_and_numbered() -> None:
    texts = [each.text for each in drawn().findall("text")]
    assert {"sure", "right", "0%", "25%", "100%"} <= set(texts)


def test_a_rule_is_named() -> None:
    svg = drawn(rules=[Rule("certain", x=0.9), Rule("asked for", y=0.8)])
    assert {"certain", "asked for"} <= {each.text for each in svg.findall("text")}
    assert len([each for each in svg.findall("line") if each.attrib["class"] == "rule"]) == 2


@pytest.mark.parametrize("values", [[0.0], [0.3, 1.7], [12.0], [1e6], [1, 2, 3]])
def test_an_axis_of_numbers_holds_them_all_with_few_ticks(values: list[float]) -> None:
    axis = number_axis("loss", values)
    assert axis.least == 0
    assert axis.most >= max(values)
    assert 1 <= len(axis.ticks) <= 6


def test_an_axis_of_whole_numbers_has_no_halves() -> None:
    assert list(number_axis("epoch", range(1, 4), whole=True).ticks) == [0, 1, 2, 3]
    assert list(number_axis("epoch", [1], whole=True).ticks) == [0, 1]


def test_what_is_beyond_an_axis_is_drawn_at_its_end() -> None:
    line = Line("guide", [(-1, 2), (2, -1)])
    svg = plot([line], x=share_axis("a"), y=share_axis("b"), title="t")
    numbers = map(float, re.findall(r"-?[\d.]+", re.findall(r'points="([^"]+)"', svg)[0]))
    assert all(0 <= number <= 320 for number in numbers)
