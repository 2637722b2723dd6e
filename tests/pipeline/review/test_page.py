"""The page of a review in a browser, as a user meets it. Skipped where there is no Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from data import relabels
from tests.browser import SHOTS, chromium, needs_chromium
from tests.pipeline.review.conftest import Review, make_doubts_in_conflict, reviewing
from tests.serving.conftest import wait_for

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(driver: webdriver.Chrome, review: Review) -> webdriver.Chrome:
    driver.set_window_size(1100, 900)
    opened(driver, review)
    complaints(driver)  # of the page before, whose server is gone
    return driver


def opened(driver: webdriver.Chrome, review: Review) -> None:
    driver.get(review.url)
    wait_for(lambda: text(driver, "counts"))


def press(driver: webdriver.Chrome, *pressed: str) -> None:
    for key in pressed:
        ActionChains(driver).send_keys(key).perform()


def text(driver: webdriver.Chrome, name: str) -> str:
    return driver.find_element(By.ID, name).text


def shows(driver: webdriver.Chrome, review: Review, position: int) -> None:
    """Waits until a photo of the list is shown."""
    wait_for(lambda: text(driver, "name").startswith(review.doubts.photos[position].name))


def test_photos_in_conflict_show_both_pictures_and_one_key_decides_about_both(
    driver: webdriver.Chrome, table: Path
) -> None:
    with reviewing(table, doubts=make_doubts_in_conflict()) as review:
        driver.set_window_size(1100, 900)
        opened(driver, review)
        shows(driver, review, 0)
        assert "Not used: a near-duplicate of" in text(driver, "conflict")
        assert review.doubts.photos[1].label in text(driver, "copies")
        press(driver, "s")
        shows(driver, review, 2)
        assert decided(review) == {0: "sad", 1: "sad"}
        assert not driver.find_element(By.ID, "alike").is_displayed()
        press(driver, "u")
        shows(driver, review, 1)
        assert decided(review) == {}


def decided(review: Review) -> dict[int, str]:
    """The label in force of each photo that someone has decided about."""
    found = relabels.read(review.table).rows
    return {
        position: found[photo.sha256].to
        for position, photo in enumerate(review.doubts.photos)
        if photo.sha256 in found and not found[photo.sha256].is_undo
    }


def shoot(driver: webdriver.Chrome, name: str) -> None:
    """A picture of the page, to be looked at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    driver.save_screenshot(str(SHOTS / f"review-{name}.png"))


def complaints(driver: webdriver.Chrome) -> list[object]:
    log: list[dict[str, object]] = driver.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry for entry in log if entry["level"] == "SEVERE"]


def test_one_key_decides_and_brings_the_next_photo(page: webdriver.Chrome, review: Review) -> None:
    photos = review.doubts.photos
    shows(page, review, 0)
    assert text(page, "question") == f"It is labelled {photos[0].label}"
    assert text(page, "counts") == "0 decided now, 40 left"
    assert len(page.find_elements(By.CSS_SELECTOR, "#same img")) == 4
    shoot(page, "first")
    for position, (key, to) in enumerate(
        [("3", "relaxed"), ("s", "sad"), ("A", "angry"), (" ", ""), (Keys.ENTER, ""), ("x", "")]
    ):
        shows(page, review, position)
        press(page, key)
        shows(page, review, position + 1)
        wanted = photos[position].label if key in (" ", Keys.ENTER) else to
        assert decided(review)[position] == wanted
    assert text(page, "counts") == "6 decided now, 34 left"
    assert not complaints(page)


def test_undo_takes_back_the_last_and_shows_it_again(
    page: webdriver.Chrome, review: Review
) -> None:
    shows(page, review, 0)
    press(page, "1")
    shows(page, review, 1)
    press(page, "2")
    shows(page, review, 2)
    press(page, "u")
    shows(page, review, 1)
    wait_for(lambda: decided(review) == {0: "angry"})
    press(page, "u")
    shows(page, review, 0)
    wait_for(lambda: decided(review) == {})
    press(page, "u")
    press(page, "4")
    shows(page, review, 1)
    assert decided(review) == {0: "sad"}


def test_arrows_go_back_to_what_was_decided_and_forward_again(
    page: webdriver.Chrome, review: Review
) -> None:
    shows(page, review, 0)
    press(page, "x")
    shows(page, review, 1)
    press(page, Keys.ARROW_LEFT)
    shows(page, review, 0)
    wait_for(lambda: text(page, "decision") == "Left out")
    press(page, "2")
    shows(page, review, 1)
    assert decided(review) == {0: "happy"}
    press(page, Keys.ARROW_RIGHT)
    shows(page, review, 2)
    assert decided(review) == {0: "happy"}


def test_a_reason_goes_with_the_next_decision(page: webdriver.Chrome, review: Review) -> None:
    shows(page, review, 0)
    press(page, "o", *"two dogs, x", Keys.ENTER, "4")
    shows(page, review, 1)
    press(page, "4")
    shows(page, review, 2)
    assert [row.reason for row in relabels.read(review.table).rows.values()] == ["two dogs, x", ""]


def test_a_second_tab_sees_what_the_first_did(page: webdriver.Chrome, review: Review) -> None:
    first = page.current_window_handle
    shows(page, review, 0)
    page.switch_to.new_window("tab")
    try:
        opened(page, review)
        shows(page, review, 0)
        press(page, "4")
        shows(page, review, 1)
        page.switch_to.window(first)
        wait_for(lambda: text(page, "decision") == "Changed to sad")
        assert text(page, "counts") == "1 decided now, 39 left"
        press(page, Keys.ARROW_RIGHT, "3")
        shows(page, review, 2)
        assert decided(review) == {0: "sad", 1: "relaxed"}
    finally:
        page.switch_to.window(next(each for each in page.window_handles if each != first))
        page.close()
        page.switch_to.window(first)


def test_two_tabs_cannot_overrule_each_other_unseen(page: webdriver.Chrome, review: Review) -> None:
    shows(page, review, 0)
    page.execute_script("window.setTimeout = () => {};")  # no news from the server
    wait_for(lambda: review.answer(to="sad").status == 200)
    page.execute_script("document.querySelector('[data-label=angry]').click()")
    wait_for(lambda: text(page, "decision") == "Changed to sad")
    assert decided(review) == {0: "sad"}


def test_what_was_decided_before_comes_only_if_asked(
    driver: webdriver.Chrome, review: Review, table: Path
) -> None:
    review.answer(position=0, to="sad")
    review.answer(position=2, to="")
    with reviewing(table) as again:
        opened(driver, again)
        shows(driver, again, 1)
        assert text(driver, "counts") == "0 decided now, 38 left"
        press(driver, Keys.ARROW_RIGHT)
        shows(driver, again, 3)
        press(driver, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
        shows(driver, again, 1)
        press(driver, "v", Keys.ARROW_LEFT)
        shows(driver, again, 0)
        assert text(driver, "decision") == "Changed to sad"
        press(driver, "u")
        wait_for(lambda: decided(again) == {2: ""})


def test_the_server_gone_and_back_loses_nothing(driver: webdriver.Chrome, table: Path) -> None:
    with reviewing(table) as review:
        port = int(review.authority.partition(":")[2])
        opened(driver, review)
        shows(driver, review, 0)
        press(driver, "4")
        shows(driver, review, 1)
    press(driver, "3")
    wait_for(lambda: "cannot be reached, and nothing was stored" in text(driver, "error"))
    assert decided(review) == {0: "sad"}
    with reviewing(table, port) as review:
        wait_for(lambda: not driver.find_element(By.ID, "error").is_displayed())
        press(driver, "3")
        shows(driver, review, 2)
        assert decided(review) == {0: "sad", 1: "relaxed"}


def test_the_end_says_that_nothing_is_left(driver: webdriver.Chrome, table: Path) -> None:
    with reviewing(table) as review:
        for position in range(39):
            review.answer(position=position, to="sad")
        opened(driver, review)
        shows(driver, review, 39)
        press(driver, " ")
        wait_for(lambda: text(driver, "done").startswith("Nothing is left"))
        press(driver, "u")
        shows(driver, review, 39)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1100])
def test_it_fits_any_screen_by_day_and_night_and_takes_touches(
    driver: webdriver.Chrome, review: Review, scheme: str, width: int
) -> None:
    send = driver.execute_cdp_cmd
    phone = width < 500
    send(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": phone},
    )
    send(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    send("Emulation.setTouchEmulationEnabled", {"enabled": phone})
    try:
        opened(driver, review)
        shows(driver, review, 0)
        widths = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1] == width
        ground = driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        assert ("251" in ground) == (scheme == "light")
        wait_for(
            lambda: driver.execute_script(
                "return [...document.images].every((image) => image.naturalWidth)"
            )
        )
        shoot(driver, f"{width}-{scheme}")
        driver.find_element(By.CSS_SELECTOR, "[data-label=sad]").click()
        shows(driver, review, 1)
        driver.find_element(By.CSS_SELECTOR, "[data-command=undo]").click()
        shows(driver, review, 0)
        for button in driver.find_elements(By.TAG_NAME, "button"):
            assert button.size["height"] >= 44
    finally:
        send("Emulation.setTouchEmulationEnabled", {"enabled": False})
        send("Emulation.clearDeviceMetricsOverride", {})
        send("Emulation.setEmulatedMedia", {"features": []})
