"""The page in a browser, as a user meets it. Skipped where there is no Chromium."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from data.drawn_dogs import draw_photo
from serving.embedded.config_files import ModelConfig
from tests.browser import SHOTS, chromium, needs_chromium
from tests.serving.asking.photo_model import LABELS, write_photo_model
from tests.serving.conftest import Client, serving, wait_for
from tests.serving.embedded.models import NAME

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    base = tmp_path_factory.mktemp("photo-model")
    write_photo_model(base / "1")
    with serving(ModelConfig("dogs", base)) as client:
        wait_for(lambda: client.states("dogs") == {1: "AVAILABLE"})
        yield client


@pytest.fixture
def page(driver: webdriver.Chrome, client: Client) -> webdriver.Chrome:
    driver.set_window_size(1000, 900)
    driver.get(client.url)
    wait_for(lambda: model_names(driver) == ["dogs"])
    return driver


def model_names(driver: webdriver.Chrome) -> list[str]:
    options = driver.find_elements(By.CSS_SELECTOR, "#model option")
    return [option.get_attribute("value") or "" for option in options]


def photo(folder: Path, name: str = "dog.jpg", size: int = 0) -> Path:
    """A drawn dog; of a camera's size if `size` says so."""
    file = folder / name
    drawn = draw_photo("happy", np.random.default_rng(3))
    if size:
        pixels = cv2.imdecode(np.frombuffer(drawn, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        drawn = cv2.imencode(".jpg", cv2.resize(pixels, (size, size)))[1].tobytes()
    file.write_bytes(drawn)
    return file


def choose(driver: webdriver.Chrome, *files: Path) -> None:
    driver.find_element(By.ID, "choose").send_keys("\n".join(map(str, files)))


def results(driver: webdriver.Chrome, count: int) -> list[WebElement]:
    """The answers, when they are all there."""

    def answered() -> bool:
        found = driver.find_elements(By.CSS_SELECTOR, ".result")
        return len(found) == count and all("Looking" not in each.text for each in found)

    wait_for(answered)
    return driver.find_elements(By.CSS_SELECTOR, ".result")


def shoot(driver: webdriver.Chrome, name: str) -> None:
    """A picture of the page, to be looked at."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    driver.save_screenshot(str(SHOTS / f"{name}.png"))


def complaints(driver: webdriver.Chrome) -> list[Any]:
    log: list[Any] = driver.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry for entry in log if entry["level"] == "SEVERE"]


def test_a_photo_becomes_an_emotion_with_bars(page: webdriver.Chrome, tmp_path: Path) -> None:
    choose(page, photo(tmp_path))
    (result,) = results(page, 1)
    heading = result.find_element(By.TAG_NAME, "h2").text
    assert heading in LABELS
    rows = result.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == list(LABELS)
    percents = [int(row.text.split()[-2]) for row in rows]
    assert 98 <= sum(percents) <= 102
    best = result.find_element(By.CSS_SELECTOR, "tr.best th").text
    assert best == heading
    bars = [row.find_element(By.TAG_NAME, "progress").get_property("value") for row in rows]
    assert [round(float(str(bar)) * 100) for bar in bars] == percents
    assert result.find_element(By.CSS_SELECTOR, ".details").text.startswith("dog.jpg · ")
    assert " ms" in result.find_element(By.CSS_SELECTOR, ".details").text
    said = page.find_element(By.ID, "status").get_property("textContent")
    assert str(said).startswith(f"dog.jpg: {heading}, ")
    shoot(page, "answer")
    assert not complaints(page)


def test_several_photos_are_answered_in_their_order(page: webdriver.Chrome, tmp_path: Path) -> None:
    choose(page, *(photo(tmp_path, f"{name}.jpg") for name in "abc"))
    names = [
        each.find_element(By.CSS_SELECTOR, ".details").text.split(" ")[0]
        for each in results(page, 3)
    ]
    assert names == ["a.jpg", "b.jpg", "c.jpg"]
    choose(page, photo(tmp_path, "d.jpg"))
    newest = results(page, 4)[0]
    assert newest.find_element(By.CSS_SELECTOR, ".details").text.startswith("d.jpg")
    shoot(page, "several")


def test_a_large_photo_is_made_small_before_it_is_sent(
    page: webdriver.Chrome, tmp_path: Path
) -> None:
    file = photo(tmp_path, size=4000)
    page.execute_script(
        "window.sent = []; const ask = window.fetch;"
        "window.fetch = (url, options) => {"
        " if (options?.body) window.sent.push(options.body.length); return ask(url, options); };"
    )
    choose(page, file)
    (result,) = results(page, 1)
    assert result.find_element(By.TAG_NAME, "h2").text in LABELS
    (sent,) = page.execute_script("return window.sent")
    assert sent < 200_000
    image = result.find_element(By.TAG_NAME, "img")
    assert image.get_property("naturalWidth") == 512


def test_a_file_that_is_not_a_photo_is_named(page: webdriver.Chrome, tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("no photo")
    choose(page, text, photo(tmp_path))
    bad, good = results(page, 2)
    assert "The browser cannot read this file as a photo" in bad.text
    assert good.find_element(By.TAG_NAME, "h2").text in LABELS
    shoot(page, "bad-file")


def test_a_server_that_is_gone_is_said_in_words(
    driver: webdriver.Chrome, tmp_path: Path, client: Client
) -> None:
    with serving() as other:
        driver.get(other.url)
        wait_for(lambda: driver.find_elements(By.ID, "drop"))
    choose(driver, photo(tmp_path))
    (result,) = results(driver, 1)
    assert "The server cannot be reached. Is it still running?" in result.text
    shoot(driver, "server-down")


def test_a_model_that_is_not_there_is_said_in_words(
    driver: webdriver.Chrome, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with serving(ModelConfig("empty", tmp_path / "empty")) as other:
        driver.get(other.url)
        wait_for(lambda: model_names(driver) == ["empty"])
        choose(driver, photo(tmp_path))
        (result,) = results(driver, 1)
        assert "The model is not ready yet" in result.text


def test_a_model_of_something_else_is_said_in_words(
    driver: webdriver.Chrome, tmp_path: Path, conformance_models: Path
) -> None:
    with serving(ModelConfig(NAME, conformance_models)) as other:
        wait_for(lambda: other.states(NAME) == {2: "AVAILABLE"})
        driver.get(other.url)
        wait_for(lambda: model_names(driver) == [NAME])
        choose(driver, photo(tmp_path))
        (result,) = results(driver, 1)
        assert "The server refuses the photo" in result.text


def test_a_pasted_photo_is_taken(page: webdriver.Chrome) -> None:
    page.execute_script(PASTE)
    (result,) = results(page, 1)
    assert result.find_element(By.TAG_NAME, "h2").text in LABELS


def test_a_dropped_photo_is_taken(page: webdriver.Chrome) -> None:
    page.execute_script(
        PASTE.replace("ClipboardEvent", "DragEvent").replace(
            '"paste", { clipboardData', '"drop", { dataTransfer'
        )
    )
    (result,) = results(page, 1)
    assert result.find_element(By.TAG_NAME, "h2").text in LABELS


PASTE = """
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 64;
canvas.getContext("2d").fillRect(0, 0, 32, 32);
canvas.toBlob((blob) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([blob], "pasted.png", { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
});
"""


def test_the_keyboard_reaches_everything(page: webdriver.Chrome) -> None:
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    focused = page.switch_to.active_element
    assert focused.get_attribute("id") == "choose"
    outline = page.find_element(By.CSS_SELECTOR, ".button").value_of_css_property("outline-style")
    assert outline == "solid"


def test_everything_has_a_name_for_screen_readers(page: webdriver.Chrome, tmp_path: Path) -> None:
    choose(page, photo(tmp_path))
    (result,) = results(page, 1)
    assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    assert page.find_element(By.ID, "status").get_attribute("role") == "status"
    assert result.find_element(By.TAG_NAME, "img").get_attribute("alt") == "dog.jpg"
    assert result.find_element(By.TAG_NAME, "caption").get_property("textContent")
    assert page.find_element(By.ID, "choose").accessible_name == "Choose photos"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390])
def test_it_fits_a_telephone_by_day_and_night(
    driver: webdriver.Chrome, client: Client, tmp_path: Path, scheme: str, width: int
) -> None:
    send = driver.execute_cdp_cmd
    send(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": True},
    )
    send(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        driver.get(client.url)
        wait_for(lambda: model_names(driver) == ["dogs"])
        choose(driver, photo(tmp_path, "a-photo-with-a-name-that-is-far-too-long-for-a-phone.jpg"))
        results(driver, 1)
        time.sleep(0.1)
        assert driver.find_element(By.ID, "camera-button").is_displayed()
        widths = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1] == width
        ground = driver.find_element(By.TAG_NAME, "body").value_of_css_property("background-color")
        assert ("251" in ground) == (scheme == "light")
        shoot(driver, f"phone-{width}-{scheme}")
    finally:
        send("Emulation.setTouchEmulationEnabled", {"enabled": False})
        send("Emulation.clearDeviceMetricsOverride", {})
        send("Emulation.setEmulatedMedia", {"features": []})
