"""What is counted of photos and answers, as Prometheus reads it from a real server."""

import base64
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.drawn_dogs import draw_photo
from data.photos import prepare_photo
from pipeline.drift.counted import Counted
from serving.embedded.app import METRICS_PATH
from serving.embedded.config_files import ModelConfig
from serving.observing import photo_metrics
from serving.observing.photo_metrics import PhotoMetrics, measure
from tests.serving.asking.photo_model import write_explaining_model
from tests.serving.conftest import Client, serving, wait_for


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    base = tmp_path_factory.mktemp("models")
    write_explaining_model(base / "7")
    metrics = PhotoMetrics()
    with serving(ModelConfig("dogs", base), observers=[metrics], collectors=[metrics]) as client:
        wait_for(lambda: client.states("dogs") == {7: "AVAILABLE"})
        yield client


def plain(width: int, height: int, red: int, green: int, blue: int, ending: str = ".png") -> bytes:
    pixels = np.full((height, width, 3), (blue, green, red), np.uint8)
    return cv2.imencode(ending, pixels)[1].tobytes()


def scrape(client: Client) -> str:
    reply = client.ask("GET", METRICS_PATH)
    assert reply.status == 200
    return reply.body.decode()


def counted(client: Client, version: str = "7") -> Counted:
    return Counted.of(scrape(client), "dogs", version)


def unmeasured(client: Client) -> int:
    found = re.findall(r"photos_unmeasured_total\{.*\} (\d+)", scrape(client))
    return int(found[0]) if found else 0


def ask(client: Client, *photos: bytes, signature: str = "") -> None:
    instances = [{"b64": base64.b64encode(photo).decode()} for photo in photos]
    request = {"instances": instances, **({"signature_name": signature} if signature else {})}
    assert client.predict("dogs", request).status == 200


def test_answers_and_photos_are_counted(client: Client) -> None:
    before = counted(client)
    bright, dark, blue = (
        plain(300, 200, 220, 230, 200, ".jpg"),
        plain(600, 300, 40, 50, 40),
        plain(1000, 1000, 20, 20, 250),
    )
    ask(client, bright, bright)
    ask(client, dark)
    ask(client, blue)
    ask(client, dark, signature="explain")
    wait_for(lambda: counted(client).measured == before.measured + 4)
    found = counted(client).since(before)
    by_what = {said: sum(labels.values()) for said, labels in found.answers.items()}
    assert by_what == {"label": 2, "not_sure": 1, "no_dog": 1}
    assert (found.total, found.not_sure, found.no_dog) == (4, 0.25, 0.25)
    widths, heights, brightness = (
        {bound: count for bound, count in each.items() if count}
        for each in (
            found.histograms["dog_emotion_photo_width"],
            found.histograms["dog_emotion_photo_height"],
            found.histograms["dog_emotion_photo_brightness"],
        )
    )
    assert widths == {"304": 2, "512": 2}
    assert heights == {"200": 2, "256": 1, "512": 1}
    assert brightness == {"48": 2, "224": 2}
    assert 'version="7"' in scrape(client)


def test_a_photo_that_is_refused_is_not_counted(client: Client) -> None:
    before = counted(client)
    instances = [{"b64": base64.b64encode(b"no photo").decode()}]
    assert client.predict("dogs", {"instances": instances}).status == 400
    assert counted(client) == before


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_what_is_measured_is_what_the_records_have(seed: int, ending: str) -> None:
    rng = np.random.default_rng(seed)
    drawn = cv2.imdecode(np.frombuffer(draw_photo("sad", rng), np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    size = (int(rng.integers(100, 900)), int(rng.integers(100, 900)))
    photo = cv2.imencode(ending, cv2.resize(drawn, size))[1].tobytes()
    measured = measure(photo)
    assert measured is not None
    prepared = prepare_photo(photo)
    records = cv2.imdecode(np.frombuffer(prepared.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert records is not None
    assert measured[0] == pytest.approx(prepared.brightness, abs=2)
    assert measured[1:] == (records.shape[1], records.shape[0])


@pytest.mark.parametrize("photo", [b"", b"\xff\xd8\xff broken", plain(5000, 4000, 1, 1, 1)])
def test_what_cannot_be_measured_cheaply_is_not(photo: bytes) -> None:
    assert measure(photo) is None


def test_a_photo_too_large_to_be_measured_does_not_wait_for_that(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1750, 1750, 3), np.uint8)
    large = cv2.imencode(".png", noise)[1].tobytes()
    assert len(large) > photo_metrics.MOST_BYTES
    done = threading.Event()

    def measure_when_told(photo: bytes) -> None:
        done.wait(60)

    monkeypatch.setattr(photo_metrics, "measure", measure_when_told)
    before = unmeasured(client)
    try:
        ask(client, large)
        assert unmeasured(client) == before + 1
    finally:
        done.set()


def test_no_answer_waits_for_a_measurement(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_slowly(photo: bytes) -> None:
        time.sleep(1)

    monkeypatch.setattr(photo_metrics, "measure", measure_slowly)
    metrics = PhotoMetrics()
    write_explaining_model(tmp_path / "1")
    with serving(
        ModelConfig("dogs", tmp_path), observers=[metrics], collectors=[metrics]
    ) as client:
        wait_for(lambda: client.states("dogs") == {1: "AVAILABLE"})
        photo = plain(64, 64, 100, 100, 100)
        ask(client, *[photo] * 30)  # more than may wait
        assert counted(client, "1").total == 30
        assert 20 <= unmeasured(client) < 30
