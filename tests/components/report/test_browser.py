"""The report in a browser, as a user meets it. Skipped where there is no Chromium."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from components.report.page import NodeCost, RunFacts, complete, make_page
from tests.browser import SHOTS, chromium, emulate, needs_chromium, number, shoot
from tests.components.report.conftest import NewFacts

pytestmark = needs_chromium
HOSTILE = "<script>document.title='taken'</script>"
RUN = RunFacts(
    pushed="/home/somebody/runs/dogs/serving/dog_emotion/1795502135",
    left_out=[(14, "unusable files"), (3, "with labels that cannot be right")],
    alike="1,204 photos are copies of each other, exactly or nearly",
    nodes=[NodeCost("Trainer", 120.5, 220.1, 1890.0, cached=False)],
    by_span={
        "1795502000": {1: 0.62, 2: 0.58, 3: 0.51},
        "1795502072": {2: 0.66, 3: 0.6, 4: 0.57},
        "1795502135": {4: 0.64},
    },
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(driver: webdriver.Chrome, new_facts: NewFacts, tmp_path: Path) -> webdriver.Chrome:
    facts = new_facts(("angry", "happy", "relaxed", f"a-very-long-name-without-a-space{HOSTILE}"))
    file = tmp_path / "index.html"
    file.write_text(complete(make_page(facts), RUN), encoding="utf-8")
    driver.get(file.as_uri())
    return driver


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_sticks_out_of_a_window_of_any_width(
    page: webdriver.Chrome, width: int, scheme: str
) -> None:
    emulate(page, width, scheme)
    assert number(page, "document.documentElement.scrollWidth") <= width
    shoot(page, f"report-{width}-{scheme}")


def test_every_picture_is_shown_and_nothing_is_run_or_missed(page: webdriver.Chrome) -> None:
    assert page.title == "Report: passed"
    assert len(page.find_elements(By.TAG_NAME, "img")) > 90
    assert number(page, "[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert not page.get_log("browser")  # type: ignore[no-untyped-call]


def test_the_page_prints_on_a_few_sheets(page: webdriver.Chrome) -> None:
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    pdf = base64.b64decode(printed["data"])
    SHOTS.mkdir(parents=True, exist_ok=True)
    (SHOTS / "report.pdf").write_bytes(pdf)
    assert 3 <= pdf.count(b"/Type /Page\n") <= 14
