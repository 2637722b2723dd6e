import re
import xml.etree.ElementTree as ET

import pytest

from components.pages.charts import histogram, stack


def bars(svg: str) -> list[str]:
    """What is said of each bar."""
    return re.findall(r"<title>(.*?)</title>", svg)


def test_every_value_is_in_a_bar() -> None:
    svg = histogram([1, 2, 2.5, 3.9, 4], step=1, title="Sizes", unit=" px")
    assert bars(svg) == ["1 to 2 px: 1", "2 to 3 px: 2", "3 to 4 px: 1", "4 to 5 px: 1"]
    assert ET.fromstring(svg).attrib["aria-label"] == "Sizes"


@pytest.mark.parametrize(
    "values", [[5.0], [7.0] * 1000, [0.001, 1e9], list(range(100_000)), [0.0, 255.0]]
)
def test_there_are_few_bars_whatever_the_values(values: list[float]) -> None:
    svg = histogram(values, step=1, title="any")
    found = ET.fromstring(svg).findall("rect")
    assert 1 <= len(found) <= 40
    assert sum(int(said.rpartition(" ")[2].replace(",", "")) for said in bars(svg)) == len(values)


def test_a_few_huge_values_do_not_make_all_others_one_bar() -> None:
    svg = histogram([*range(1000), 10**6], step=10, title="sides", unit=" px")
    said = bars(svg)
    assert len(said) > 15
    assert "and more" in said[-1]
    assert "up to 1,000,000 px" in svg


def test_no_values_make_no_chart() -> None:
    assert histogram([], step=1, title="none") == ""


def test_a_title_cannot_end_its_attribute() -> None:
    svg = histogram([1], step=1, title='"><script>')
    assert "<script>" not in svg
    assert ET.fromstring(svg).attrib["aria-label"] == '"><script>'


def test_a_stack_is_as_long_as_its_numbers() -> None:
    parts = ET.fromstring(stack([30, 10, 10], most=100)).findall("rect")
    assert [(float(part.get("x", "")), float(part.get("width", ""))) for part in parts] == [
        (0, 30),
        (30, 10),
        (40, 10),
    ]


def test_a_stack_of_nothing_has_no_length() -> None:
    parts = ET.fromstring(stack([0, 0, 0], most=0)).findall("rect")
    assert {part.get("width") for part in parts} == {"0.00"}
