"""The page in a browser, as a user meets it. Skipped where there is no Chromium."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from pipeline.audit.findings import find_out
from pipeline.audit.page import make_page
from pipeline.audit.pictures import Doubt, Doubts, Padded
from tests.browser import chromium, emulate, needs_chromium, number, shoot
from tests.pipeline.audit.conftest import RADIUS, NewFact

pytestmark = needs_chromium
HOSTILE = "<script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(driver: webdriver.Chrome, new_fact: NewFact, tmp_path: Path) -> webdriver.Chrome:
    labels = ("happy", "sad", f"a-class-with-a-very-long-name-that-has-no-space-in-it{HOSTILE}")
    facts = [
        new_fact(f"{label}/{n}{HOSTILE}.jpg", label, group=str(n % 30), brightness=float(n))
        for label in labels
        for n in range(200)
    ]
    facts += [new_fact(f"sad/{'x' * 200}{n}", "sad", reason=HOSTILE) for n in range(50)]
    doubts = Doubts(tuple(Doubt(fact, 0.01, "ram") for fact in facts[:50]), "lite0")
    findings = find_out(
        facts, [Padded(fact, 0.3) for fact in facts[:50]], doubts, radius=RADIUS, refusal=HOSTILE
    )
    file = tmp_path / "audit.html"
    file.write_text(make_page(findings, HOSTILE))
    driver.get(file.as_uri())
    return driver


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_sticks_out_of_a_window_of_any_width(
    page: webdriver.Chrome, width: int, scheme: str
) -> None:
    emulate(page, width, scheme)
    assert number(page, "document.documentElement.scrollWidth") <= width
    shoot(page, f"audit-{width}-{scheme}")


def test_dark_is_dark_and_light_is_light(page: webdriver.Chrome) -> None:
    def ground(scheme: str) -> int:
        emulate(page, 1200, scheme)
        colour: Any = page.find_element(By.TAG_NAME, "body").value_of_css_property(
            "background-color"
        )
        return sum(int(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3])

    assert ground("light") > 3 * 200
    assert ground("dark") < 3 * 60


def test_every_picture_is_shown_and_nothing_is_run_or_missed(page: webdriver.Chrome) -> None:
    assert page.title == f"Photos of {HOSTILE}"
    pictures = page.find_elements(By.TAG_NAME, "img")
    assert len(pictures) > 300
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert number(page, broken) == 0
    assert not page.get_log("browser")  # type: ignore[no-untyped-call]


def test_the_page_opens_within_a_second(page: webdriver.Chrome) -> None:
    page.refresh()
    timing = "performance.timing.loadEventEnd - performance.timing.navigationStart"
    assert 0 < number(page, timing) < 1000


def test_the_page_prints(page: webdriver.Chrome) -> None:
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(printed["data"]) > 10_000
