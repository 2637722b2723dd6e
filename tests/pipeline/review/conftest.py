"""Reviews of made-up photos, and the server that shows them."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from data.drawn_dogs import draw_photo
from pipeline.review.decisions import Decisions
from pipeline.review.doubts import Doubts
from pipeline.review.photos import Photo
from pipeline.review.server import ReviewServer
from tests.serving.conftest import Reply

LABELS = ("angry", "happy", "relaxed", "sad")


@dataclass(frozen=True)
class Client:
    """Asks the server of a review."""

    url: str

    @property
    def authority(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def list(self) -> str:
        return str(self.ask("GET", "/state").json["list"])

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Sends a request as it is given."""
        connection = http.client.HTTPConnection(self.authority, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, response.read())
        finally:
            connection.close()

    def answer(self, headers: dict[str, str] | None = None, **answer: object) -> Reply:
        """Sends an answer as the page does."""
        sent = {"list": self.list, "position": 0, "seen": None, "to": "sad", **answer}
        as_the_page = {"origin": self.url.rstrip("/"), "content-type": "application/json"}
        return self.ask(
            "POST", "/answers", json.dumps(sent).encode(), {**as_the_page, **(headers or {})}
        )


@dataclass(frozen=True)
class Review(Client):
    """A review that is being served."""

    doubts: Doubts
    table: Path


def make_doubts(count: int = 40) -> Doubts:
    """Photos of which each class has a direction of its own; the first label is wrong."""
    rng = np.random.default_rng(0)
    ids = np.arange(count) % len(LABELS)
    features = np.eye(8, dtype=np.float32)[ids] + 0.1 * rng.normal(size=(count, 8))
    ids[0] = 1
    photos = [
        Photo(f"{LABELS[label]}/{index}.jpg", LABELS[label], f"{index:064x}", f"group {index}")
        for index, label in enumerate(ids)
    ]
    return Doubts.of(photos, features.astype(np.float32))


def make_doubts_in_conflict() -> Doubts:
    """Photos of which the last two are one picture under two labels."""
    doubts = make_doubts()
    *others, sad, happy = sorted(doubts.photos, key=lambda photo: photo.name)
    pair = [
        replace(sad, label="sad", group="pair", conflict=f"a near-duplicate of {happy.name}"),
        replace(happy, label="happy", group="pair", conflict=f"a near-duplicate of {sad.name}"),
    ]
    features = np.eye(8, dtype=np.float32)[[LABELS.index(photo.label) for photo in others] + [3, 3]]
    return Doubts.of([*others, *pair], features)


def draw(position: int) -> bytes:
    """The picture of a photo."""
    label = LABELS[position % len(LABELS)]
    return draw_photo(label, np.random.default_rng(position))


@contextmanager
def reviewing(table: Path, port: int = 0, doubts: Doubts | None = None) -> Iterator[Review]:
    """A review served in a thread, on a free port, for as long as the block runs."""
    doubts = doubts or make_doubts()
    at_first = [photo.label for photo in doubts.photos]
    decisions = Decisions(table, doubts.photos, at_first)
    server = ReviewServer(doubts, decisions, draw, port, announce=lambda url: None)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield Review(server.url, doubts, table)
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "relabels.csv"


@pytest.fixture
def review(table: Path) -> Iterator[Review]:
    with reviewing(table) as review:
        yield review
