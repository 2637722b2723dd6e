"""The whole circle in a browser: a photo on the page, a correction, a review, a run, a new model.

The drawn dogs and the tiny backbone stand in; every step is the command as a user gives it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from data import span_photos
from data.drawn_dogs import draw_dataset, draw_photo
from data.feedback import read_feedback
from pipeline.workdir import Workdir
from tests.browser import chromium, needs_chromium, shoot
from tests.pipeline.runs import ANY_MODEL
from tests.serving.conftest import Client, wait_for

Command = Callable[..., subprocess.CompletedProcess[str]]
PHOTOS = 4


@contextmanager
def command(
    *words: str, env: Mapping[str, str], first: str
) -> Iterator[tuple[str, Callable[[], str]]]:
    """A command that serves, as far as the line that begins with `first`; the URL in it, and what
    interrupts it and returns the rest of what it says."""
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(words, env=dict(env), stdout=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, ours)
    assert process.stdout
    line = next(line for line in process.stdout if line.startswith(first))

    def end() -> str:
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=120)[0]

    try:
        yield line.split()[1], end
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@needs_chromium
def test_a_correction_on_the_page_becomes_part_of_the_next_model_that_is_served(
    run: Command, dog_emotion: str, offline: Mapping[str, str], tmp_path: Path
) -> None:
    photos, feedback, workdir = tmp_path / "dogs", tmp_path / "said", Workdir(tmp_path / "run")
    draw_dataset(photos, per_class=40, seed=0)
    where = ("--photos", str(photos), "--workdir", str(workdir.root), "--profile", "tiny")
    settings = [f"--set={setting}" for setting in ANY_MODEL]
    done = run("run", *where, *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (before,) = versions(workdir)

    serve = (dog_emotion, "serve", "--rest_api_port=0", f"--model_base_path={workdir.serving}")
    with (
        command(*serve, f"--feedback={feedback}", env=offline, first="serving") as (url, _),
        chromium(tmp_path / "profile") as browser,
    ):
        client = Client(url)
        wait_for(lambda: client.states("dog_emotion") == {before: "AVAILABLE"})
        browser.get(url)
        sent = [tmp_path / f"sent-{number}.jpg" for number in range(PHOTOS)]
        for number, file in enumerate(sent):
            file.write_bytes(draw_photo("sad", np.random.default_rng(1000 + number)))
        browser.find_element(By.ID, "choose").send_keys("\n".join(map(str, sent)))
        wait_for(lambda: len(shown(browser, ".feedback")) == PHOTOS)

        started, used = time.monotonic(), children_seconds()
        for fieldset in shown(browser, ".feedback"):
            (sad,) = (
                button
                for button in fieldset.find_elements(By.TAG_NAME, "button")
                if button.text.startswith("sad")
            )
            sad.click()
        wait_for(lambda: len(shown(browser, ".kept")) == PHOTOS)
        said, remarks = read_feedback(feedback)
        assert not remarks
        assert [each.correction for each in said] == ["sad"] * PHOTOS
        assert {each.version for each in said} == {str(before)}
        shoot(browser, "circle-corrected")

        review = (dog_emotion, "review", str(photos), f"--workdir={workdir.root}", "--port=0")
        with command(*review, f"--feedback={feedback}", env=offline, first="review") as (page, end):
            browser.get(page)
            for left in range(PHOTOS, 0, -1):
                wait_for(lambda: "Not used: sent to the page" in text(browser, "conflict"))
                assert "It is labelled sad" in text(browser, "question")
                shoot(browser, "circle-review")
                browser.find_element(By.TAG_NAME, "body").send_keys(" " if left > 1 else "x")
                wait_for(partial(has_decided, browser, PHOTOS - left + 1))
            out = end()
        accepted = f"{PHOTOS - 1} taken into {photos}, 1 left out, 0 to decide about"
        assert accepted in out
        assert [path for path in feedback.iterdir() if not path.name.startswith(".")] == []

        done = run("run", *where, *settings, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        wait_for(
            lambda: "AVAILABLE" in client.states("dog_emotion").get(max(versions(workdir)), "")
        )
        seconds = time.monotonic() - started
        print(
            f"from the correction to the model that is served: {seconds:.0f} s, of which "
            f"{children_seconds() - used:.0f} s are processor time of review and run"
        )

        after = max(versions(workdir))
        assert after > before
        held = {
            sha256: label
            for span in [*workdir.data.glob("span-*")]
            for _, label, _, _, _, sha256 in span_photos.read_table(span)
        }
        assert [held.get(each.sha256) for each in said].count("sad") == PHOTOS - 1
        assert [held.get(each.sha256) for each in said].count(None) == 1
        metadata = client.ask("GET", "/v1/models/dog_emotion/metadata").json
        assert metadata["model_spec"]["version"] == str(after)
        browser.get(url)
        browser.find_element(By.ID, "choose").send_keys(str(sent[0]))
        wait_for(lambda: len(shown(browser, ".feedback")) == 1)
        shown(browser, ".choices button")[0].click()
        wait_for(lambda: shown(browser, ".kept"))
        ((newest,), _) = read_feedback(feedback)
        assert newest.version == str(after)


def children_seconds() -> float:
    """Processor time of the commands that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def versions(workdir: Workdir) -> list[int]:
    return sorted(int(path.name) for path in workdir.serving.iterdir() if path.name.isdecimal())


def shown(browser: webdriver.Chrome, selector: str) -> list[WebElement]:
    return [
        each for each in browser.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()
    ]


def has_decided(browser: webdriver.Chrome, count: int) -> bool:
    return f"{count} decided now" in text(browser, "counts")


def text(browser: webdriver.Chrome, element: str) -> str:
    return browser.find_element(By.ID, element).text
