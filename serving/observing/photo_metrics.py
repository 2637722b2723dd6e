"""What is counted of photos and answers, for Prometheus: to see whether they change."""

import io
import queue
import threading
from collections.abc import Iterable

import cv2
import numpy as np
from PIL import Image
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric

from data.contract.images import LONGEST_SIDE, bounded_size
from data.contract.service import (
    ANSWERS,
    PHOTO_BRIGHTNESS,
    PHOTO_HEIGHT,
    PHOTO_WIDTH,
    SAID_LABEL,
    SAID_NO_DOG,
    SAID_NOT_SURE,
    STEP,
    UNMEASURED,
)
from serving.asking.prediction import NO_DOG, NOT_SURE
from serving.embedded.observer import Call
from serving.observing.said import read_answers

WAITING = 8
"""Photos that wait to be measured; of those that come meanwhile, no more is known than their
answer."""
MOST_BYTES = 8 * 2**20
"""Of a photo that may wait."""
MOST_PIXELS = 16_000_000
"""Of a photo that is measured: there is one at a time, of 50 MB at most as it is decoded."""
_SAID = {NO_DOG: SAID_NO_DOG, NOT_SURE: SAID_NOT_SURE}


class PhotoMetrics:
    """Counts answers at once, and measures photos in a thread of its own.

    No answer waits for a measurement: where photos come faster, the histograms are of a sample.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answers = Counter(
            ANSWERS,
            "Photos by likeliest class and by what was said.",
            ["model_name", "version", "label", "said"],
            registry=self._registry,
        )
        self._unmeasured = Counter(
            UNMEASURED,
            "Photos that are in no histogram.",
            ["model_name"],
            registry=self._registry,
        )
        self._brightness = self._histogram(PHOTO_BRIGHTNESS, "Mean luma, from 0 to 255.", 256)
        bounded = f"in pixels, the longest side bounded to {LONGEST_SIDE}."
        self._width = self._histogram(PHOTO_WIDTH, f"Width {bounded}", LONGEST_SIDE)
        self._height = self._histogram(PHOTO_HEIGHT, f"Height {bounded}", LONGEST_SIDE)
        self._waiting: queue.Queue[tuple[str, bytes]] = queue.Queue(WAITING)
        threading.Thread(target=self._work, name="photo-metrics", daemon=True).start()

    def saw(self, call: Call) -> None:
        """Counts the answers of a model of ours."""
        for photo, prediction in read_answers(call):
            said = _SAID.get(prediction.answer, SAID_LABEL)
            self._answers.labels(call.model, call.version, prediction.label, said).inc()
            if not self._may_wait(call.model, photo):
                self._unmeasured.labels(call.model).inc()

    def _may_wait(self, model: str, photo: bytes) -> bool:
        if len(photo) > MOST_BYTES:
            return False
        try:
            self._waiting.put_nowait((model, photo))
        except queue.Full:
            return False
        return True

    def collect(self) -> Iterable[Metric]:
        """All of it, for the server's registry."""
        return self._registry.collect()

    def _histogram(self, name: str, help: str, most: int) -> Histogram:
        buckets = range(STEP, most + 1, STEP)
        return Histogram(name, help, ["model_name"], buckets=buckets, registry=self._registry)

    def _work(self) -> None:
        while True:
            model, photo = self._waiting.get()
            measured = measure(photo)
            if measured is None:
                self._unmeasured.labels(model).inc()
                continue
            brightness, width, height = measured
            self._brightness.labels(model).observe(brightness)
            self._width.labels(model).observe(width)
            self._height.labels(model).observe(height)


def measure(photo: bytes) -> tuple[float, int, int] | None:
    """Mean luma, 0 to 255, and width and height, bounded as in the records.

    A JPEG is decoded at an eighth of its size, which takes no more than the mean of each block. A
    block that the edge cuts counts as a whole one, which changes the luma by less than 2.

    Args:
        photo: a JPEG or PNG that a model has read, of `MOST_BYTES` at most.

    Returns:
        None if it has too many pixels for that, or if OpenCV or Pillow cannot read it.
    """
    try:
        with Image.open(io.BytesIO(photo), formats=("JPEG", "PNG")) as header:
            width, height = header.size
        if width * height > MOST_PIXELS:
            return None
        flags = cv2.IMREAD_REDUCED_GRAYSCALE_8 | cv2.IMREAD_IGNORE_ORIENTATION
        small = cv2.imdecode(np.frombuffer(photo, np.uint8), flags)
    except Exception:  # Pillow answers broken files with exceptions of every kind
        return None
    if small is None:
        return None
    return (float(small.mean()), *bounded_size(width, height))
