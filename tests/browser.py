"""Chromium for the tests of pages. They are skipped where there is none."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_chromium = pytest.mark.skipif(
    not (_CHROMIUM and _DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"
)
SHOTS = Path(__file__).parents[1] / "runs" / "screenshots"
"""Where the tests leave pictures of the pages, to be looked at."""


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser without a window, which asks nothing of the network but the page."""
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM or ""
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(_DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


def emulate(driver: webdriver.Chrome, width: int, scheme: str = "light") -> None:
    """Makes it a window, or below 500 pixels a phone, of that width, in `light` or `dark`."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )


def number(driver: webdriver.Chrome, script: str) -> float:
    """The value of an expression in JavaScript."""
    return float(driver.execute_script(f"return {script}"))


def shoot(driver: webdriver.Chrome, name: str) -> None:
    """Leaves a picture of the whole page."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    (SHOTS / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
