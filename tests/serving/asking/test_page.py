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
from data.feedback import read_feedback
from serving.embedded.config_files import ModelConfig
from serving.embedded.versions import Policy
from serving.observing.feedback import ENDPOINT, FeedbackDesk
from serving.observing.feedback_folder import FeedbackFolder
from tests.browser import SHOTS, chromium, emulate, needs_chromium
from tests.serving.asking.photo_model import LABELS, write_explaining_model, write_photo_model
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


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    base = tmp_path_factory.mktemp("explaining-model")
    write_explaining_model(base / "1")
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
    return [str(option.get_property("textContent")) for option in options]


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


def plain_photo(folder: Path, name: str, *colour: int, patch: bool = False) -> Path:
    """A wide photo of one colour (red, green, blue), with a green patch in the upper left corner of
    its centred square if there is to be one.
    """
    pixels = np.full((210, 330, 3), colour[::-1], np.uint8)
    if patch:
        pixels[:60, 60:120] = (0, 255, 0)
    file = folder / name
    cv2.imwrite(str(file), pixels)
    return file


def heading(result: WebElement) -> str:
    return result.find_element(By.TAG_NAME, "h2").text


def said(driver: webdriver.Chrome) -> str:
    """What a screen reader says unasked."""
    return str(driver.find_element(By.ID, "status").get_property("textContent"))


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


def test_a_label_can_be_asked(driver: webdriver.Chrome, tmp_path: Path) -> None:
    write_photo_model(tmp_path / "models" / "1")
    write_explaining_model(tmp_path / "models" / "2")
    labels = {"stable": 1, "canary": 2}
    with serving(
        ModelConfig("dogs", tmp_path / "models", Policy(latest=2), labels), canary_share=0
    ) as other:
        wait_for(lambda: other.states("dogs") == {1: "AVAILABLE", 2: "AVAILABLE"})
        driver.set_window_size(1000, 900)
        driver.get(other.url)
        wait_for(lambda: model_names(driver) == ["dogs", "dogs, canary", "dogs, stable"])
        blue = plain_photo(tmp_path, "blue.png", 0, 0, 255)
        choose(driver, blue)
        results(driver, 1)
        driver.find_elements(By.CSS_SELECTOR, "#model option")[1].click()
        choose(driver, blue)
        canary, stable = results(driver, 2)
        assert heading(canary) == "no dog here"  # which the other one never says
        assert heading(stable) in LABELS
        details = canary.find_element(By.CSS_SELECTOR, ".details").text
        assert details.startswith("blue.png · dogs, canary · ")
        shoot(driver, "canary")


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


@pytest.fixture
def explaining_page(driver: webdriver.Chrome, explaining: Client) -> webdriver.Chrome:
    driver.set_window_size(1000, 900)
    driver.get(explaining.url)
    wait_for(lambda: model_names(driver) == ["dogs"])
    driver.execute_script(
        "window.sent = []; const ask = window.fetch;"
        "window.fetch = (url, options) => {"
        " if (options?.body)"
        "  window.sent.push(JSON.parse(options.body).signature_name ?? 'default');"
        " return window.refuse ? Promise.reject(new TypeError()) : ask(url, options); };"
    )
    complaints(driver)  # those of the test before
    return driver


def test_not_sure_and_no_dog_are_said_in_words(
    explaining_page: webdriver.Chrome, tmp_path: Path
) -> None:
    choose(explaining_page, plain_photo(tmp_path, "bright.png", 220, 230, 200))
    (sure,) = results(explaining_page, 1)
    assert heading(sure) in LABELS
    assert sure.find_elements(By.CSS_SELECTOR, "tr.best")
    assert said(explaining_page).startswith(f"bright.png: {heading(sure)}, ")

    choose(explaining_page, plain_photo(tmp_path, "dark.png", 40, 50, 40))
    unsure = results(explaining_page, 2)[0]
    assert heading(unsure) == "not sure"
    assert "but answers like this have not been shown to be right often enough" in unsure.text
    assert len(unsure.find_elements(By.CSS_SELECTOR, "tbody tr")) == len(LABELS)
    assert not unsure.find_elements(By.CSS_SELECTOR, "tr.best")
    assert said(explaining_page).startswith("dark.png: not sure. The likeliest is ")

    choose(explaining_page, plain_photo(tmp_path, "blue.png", 20, 20, 250))
    none = results(explaining_page, 3)[0]
    assert heading(none) == "no dog here"
    assert not none.find_elements(By.CSS_SELECTOR, "tr.best")
    assert said(explaining_page).startswith("blue.png: no dog here. ")
    shoot(explaining_page, "unsure")


def test_what_speaks_for_the_answer_is_laid_over_the_photo_at_a_key(
    explaining_page: webdriver.Chrome, tmp_path: Path
) -> None:
    choose(explaining_page, plain_photo(tmp_path, "dog.png", 60, 10, 60, patch=True))
    (result,) = results(explaining_page, 1)
    button = result.find_element(By.CSS_SELECTOR, ".why button")
    wait_for(button.is_displayed)
    assert explaining_page.execute_script("return window.sent") == ["default"]

    explaining_page.find_element(By.TAG_NAME, "body").send_keys("m")
    canvas = result.find_element(By.TAG_NAME, "canvas")
    wait_for(canvas.is_displayed)
    assert not result.find_element(By.TAG_NAME, "img").is_displayed()
    assert button.get_attribute("aria-pressed") == "true"
    words = result.find_element(By.CSS_SELECTOR, ".words").text
    assert words.startswith("What speaks for ")
    assert "strongest at the upper left." in words
    assert words.endswith("The model does not see the faded edges.")
    assert said(explaining_page) == canvas.accessible_name == words
    shoot(explaining_page, "why")

    def colour(x: int, y: int) -> list[int]:
        """Red, green, blue and opacity at a place of the photo."""
        script = (
            "return [...document.querySelector('canvas').getContext('2d')"
            f".getImageData({x}, {y}, 1, 1).data]"
        )
        pixel: list[int] = explaining_page.execute_script(script)
        return pixel

    for x, y in ((62, 2), (75, 15)):  # also at the very corner
        red, _, blue, opacity = colour(x, y)
        assert red - blue > 100
        assert opacity == 255
    red, green, blue, opacity = colour(200, 150)
    assert red == green == blue
    assert opacity == 255
    assert 70 < colour(30, 15)[3] < 85  # to the left of the square
    assert 70 < colour(300, 15)[3] < 85

    button.click()
    wait_for(lambda: not canvas.is_displayed())
    assert result.find_element(By.TAG_NAME, "img").is_displayed()
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    wait_for(canvas.is_displayed)
    assert explaining_page.execute_script("return window.sent") == ["default", "explain"]
    assert not complaints(explaining_page)


def test_the_key_is_about_the_photo_in_focus(
    explaining_page: webdriver.Chrome, tmp_path: Path
) -> None:
    choose(explaining_page, *(plain_photo(tmp_path, f"{name}.png", 60, 90, 60) for name in "ab"))
    first, second = results(explaining_page, 2)
    button = second.find_element(By.CSS_SELECTOR, ".why button")
    wait_for(button.is_displayed)
    explaining_page.execute_script("arguments[0].focus()", button)
    button.send_keys("M")
    wait_for(second.find_element(By.TAG_NAME, "canvas").is_displayed)
    assert not first.find_element(By.TAG_NAME, "canvas").is_displayed()


def test_where_nothing_speaks_for_the_answer_it_says_so(
    explaining_page: webdriver.Chrome, tmp_path: Path
) -> None:
    choose(explaining_page, plain_photo(tmp_path, "red.png", 250, 20, 20))
    (result,) = results(explaining_page, 1)
    button = result.find_element(By.CSS_SELECTOR, ".why button")
    wait_for(button.is_displayed)
    button.click()
    wait_for(result.find_element(By.TAG_NAME, "canvas").is_displayed)
    assert result.find_element(By.CSS_SELECTOR, ".words").text.startswith("Nothing in the photo ")
    assert not result.find_element(By.CSS_SELECTOR, ".scale").is_displayed()


def test_why_can_be_asked_again_after_the_server_was_gone(
    explaining_page: webdriver.Chrome, tmp_path: Path
) -> None:
    choose(explaining_page, plain_photo(tmp_path, "dog.png", 60, 90, 60))
    (result,) = results(explaining_page, 1)
    button = result.find_element(By.CSS_SELECTOR, ".why button")
    wait_for(button.is_displayed)
    explaining_page.execute_script("window.refuse = true")
    button.click()
    wait_for(lambda: "The server cannot be reached" in result.text)
    assert result.find_element(By.TAG_NAME, "img").is_displayed()
    assert said(explaining_page).startswith("The server cannot be reached")
    explaining_page.execute_script("window.refuse = false")
    button.click()
    button.click()
    wait_for(result.find_element(By.TAG_NAME, "canvas").is_displayed)
    assert heading(result)


def test_a_model_that_cannot_say_why_is_not_asked(page: webdriver.Chrome, tmp_path: Path) -> None:
    choose(page, photo(tmp_path))
    (result,) = results(page, 1)
    page.find_element(By.TAG_NAME, "body").send_keys("m")
    time.sleep(0.5)
    assert not result.find_element(By.CSS_SELECTOR, ".why").is_displayed()
    assert not result.find_element(By.TAG_NAME, "figure").is_displayed()
    assert not complaints(page)


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
    driver: webdriver.Chrome, explaining: Client, tmp_path: Path, scheme: str, width: int
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
        driver.get(explaining.url)
        wait_for(lambda: model_names(driver) == ["dogs"])
        choose(driver, photo(tmp_path, "a-photo-with-a-name-that-is-far-too-long-for-a-phone.jpg"))
        (result,) = results(driver, 1)
        why = result.find_element(By.CSS_SELECTOR, ".why button")
        wait_for(why.is_displayed)
        assert not result.find_element(By.TAG_NAME, "kbd").is_displayed()
        why.click()
        wait_for(result.find_element(By.TAG_NAME, "canvas").is_displayed)
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


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Path]]:
    """A server that takes feedback, on three photos at most, and where it lands."""
    base, folder = (tmp_path_factory.mktemp(name) for name in ("keeping-model", "feedback"))
    write_explaining_model(base / "1")
    desk = FeedbackDesk(FeedbackFolder(folder, most_photos=3, most_bytes=10**7))
    with serving(ModelConfig("dogs", base), observers=[desk], endpoints={ENDPOINT: desk}) as client:
        wait_for(lambda: client.states("dogs") == {1: "AVAILABLE"})
        yield client, folder


@pytest.fixture
def keeping_page(driver: webdriver.Chrome, keeping: tuple[Client, Path]) -> webdriver.Chrome:
    client, folder = keeping
    for file in folder.iterdir():
        file.unlink()
    driver.set_window_size(1000, 900)
    driver.get(client.url)
    wait_for(lambda: model_names(driver) == ["dogs"])
    complaints(driver)  # those of the test before
    return driver


def kept(result: WebElement) -> str:
    """What the page says of the feedback, once it does."""
    line = result.find_element(By.CSS_SELECTOR, ".kept")
    wait_for(line.is_displayed)
    return line.text


def test_an_answer_is_confirmed_or_corrected_with_one_key(
    keeping_page: webdriver.Chrome, keeping: tuple[Client, Path], tmp_path: Path
) -> None:
    choose(keeping_page, photo(tmp_path))
    (result,) = results(keeping_page, 1)
    wait_for(result.find_element(By.CSS_SELECTOR, ".feedback").is_displayed)
    assert [each.text for each in result.find_elements(By.CSS_SELECTOR, ".choices button")] == [
        f"{name}{key}" for key, name in enumerate(LABELS, start=1)
    ]
    answer = heading(result)
    wrong = next(name for name in LABELS if name != answer)
    keeping_page.find_element(By.TAG_NAME, "body").send_keys(str(LABELS.index(wrong) + 1))
    assert kept(result) == said(keeping_page) == f"Kept: it is {wrong}, not {answer}."
    buttons = result.find_elements(By.CSS_SELECTOR, ".choices button")
    pressed = [each.get_attribute("aria-pressed") for each in buttons]
    assert pressed == [str(name == wrong).lower() for name in LABELS]
    ((feedback,), _) = read_feedback(keeping[1])
    assert (feedback.label, feedback.correction) == (answer, wrong)
    shoot(keeping_page, "feedback")

    buttons[LABELS.index(answer)].click()
    wait_for(lambda: kept(result) == f"Kept: {answer} is right.")
    ((feedback,), _) = read_feedback(keeping[1])
    assert feedback.correction == answer
    assert not complaints(keeping_page)


def test_feedback_that_is_not_kept_is_said_in_words(
    keeping_page: webdriver.Chrome, keeping: tuple[Client, Path], tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (keeping[1] / name).touch()
    choose(keeping_page, photo(tmp_path))
    (result,) = results(keeping_page, 1)
    wait_for(result.find_element(By.CSS_SELECTOR, ".feedback").is_displayed)
    first = result.find_element(By.CSS_SELECTOR, ".choices button")
    first.click()
    assert kept(result) == "Not kept: the server has no room for more photos."
    assert first.get_attribute("aria-pressed") == "false"
    shoot(keeping_page, "feedback-full")


def test_a_digit_is_for_the_newest_photo_and_no_older_one(
    keeping_page: webdriver.Chrome, keeping: tuple[Client, Path], tmp_path: Path
) -> None:
    choose(keeping_page, photo(tmp_path))
    (older,) = results(keeping_page, 1)
    wait_for(older.find_element(By.CSS_SELECTOR, ".feedback").is_displayed)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    choose(keeping_page, broken)
    results(keeping_page, 2)
    keeping_page.find_element(By.TAG_NAME, "body").send_keys("1")
    time.sleep(0.5)
    assert not older.find_element(By.CSS_SELECTOR, ".kept").is_displayed()
    assert not list(keeping[1].iterdir())
    older.find_element(By.CSS_SELECTOR, ".choices button").send_keys("1")
    kept(older)


def test_without_feedback_nobody_is_asked_what_is_right(
    page: webdriver.Chrome, tmp_path: Path
) -> None:
    complaints(page)
    choose(page, photo(tmp_path))
    (result,) = results(page, 1)
    page.find_element(By.TAG_NAME, "body").send_keys("1")
    time.sleep(0.5)
    assert not result.find_element(By.CSS_SELECTOR, ".feedback").is_displayed()
    assert not complaints(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_feedback_fits_the_window_by_day_and_night(
    keeping_page: webdriver.Chrome, tmp_path: Path, scheme: str, width: int
) -> None:
    emulate(keeping_page, width, scheme)
    try:
        choose(keeping_page, photo(tmp_path))
        (result,) = results(keeping_page, 1)
        wait_for(result.find_element(By.CSS_SELECTOR, ".feedback").is_displayed)
        result.find_element(By.CSS_SELECTOR, ".choices button").click()
        kept(result)
        widths = keeping_page.execute_script(
            "return [document.documentElement.scrollWidth, innerWidth]"
        )
        assert widths[0] <= widths[1] == width
        shoot(keeping_page, f"feedback-{width}-{scheme}")
    finally:
        keeping_page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        keeping_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
