"""The client against servers that answer well, badly, or not at all."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from serving.asking.client import RemotePredictor
from serving.asking.errors import ModelError

GOOD = {"label": "sad", "labels": ["happy", "sad"], "probabilities": [0.25, 0.75]}


@contextmanager
def answering(
    status: int, body: bytes, metadata: bytes = b""
) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A server that gives one answer to all that is posted; its address and what it was asked."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(sent)))
            self.reply(status, body)

        def do_GET(self) -> None:
            asked.append((self.path, None))
            self.reply(200, metadata)

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/v1/models/dog_emotion:predict"),
        ("/", "/v1/models/dog_emotion:predict"),
        ("/v1/models/dogs", "/v1/models/dogs:predict"),
        ("/v1/models/dogs/versions/3", "/v1/models/dogs/versions/3:predict"),
    ],
)
def test_an_answer_becomes_predictions(path: str, expected: str) -> None:
    body = json.dumps({"predictions": [GOOD, GOOD]}).encode()
    with answering(200, body) as (url, asked):
        first, _ = RemotePredictor(url + path).predict([b"\xff\xd8one", b"\xff\xd8two"])
    assert first.label == "sad"
    assert first.probabilities == {"happy": 0.25, "sad": 0.75}
    assert asked == [(expected, {"instances": [{"b64": "/9hvbmU="}, {"b64": "/9h0d28="}]})]


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://x", "http://", "dog", "http://x?y=1"])
def test_an_address_that_is_not_one_is_named(url: str) -> None:
    with pytest.raises(ModelError, match="name one like http://host:8501"):
        RemotePredictor(url)


def test_what_the_server_says_is_passed_on() -> None:
    body = json.dumps({"error": "Servable not found\nfor request"}).encode()
    with (
        answering(404, body) as (url, _),
        pytest.raises(ModelError, match=r"status 404: Servable not found for request$"),
    ):
        RemotePredictor(url).predict([b"x"])


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b'{"predictions": 1}',
        b'{"predictions": [1]}',
        json.dumps({"predictions": [{**GOOD, "label": "bored"}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "probabilities": [1.0]}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "probabilities": [1.0, float("nan")]}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "certain": 1}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "dog": float("nan")}]}).encode(),
        json.dumps({"predictions": [{**GOOD, "dog": "yes"}]}).encode(),
        json.dumps({"predictions": []}).encode(),
    ],
)
def test_another_answer_is_refused(answer: bytes) -> None:
    with answering(200, answer) as (url, _), pytest.raises(ModelError, match=url):
        RemotePredictor(url).predict([b"x"])


def test_whether_it_is_certain_and_sees_a_dog_is_passed_on() -> None:
    rows = [GOOD, {**GOOD, "certain": False, "dog": 0.75}, {**GOOD, "certain": True, "dog": 0}]
    with answering(200, json.dumps({"predictions": rows}).encode()) as (url, _):
        predictions = RemotePredictor(url).predict([b"x"] * 3)
    assert [each.answer for each in predictions] == ["sad", "not sure", "no dog here"]


def metadata(*signatures: str) -> bytes:
    definitions: dict[str, Any] = {name: {} for name in signatures}
    return json.dumps({"metadata": {"signature_def": {"signature_def": definitions}}}).encode()


def test_evidence_is_asked_for_by_its_signature_where_the_model_has_it() -> None:
    body = json.dumps({"predictions": [{**GOOD, "map": [[-1, 0], [2.5, 1e-3]]}]}).encode()
    path = "/v1/models/dogs/versions/3"
    with answering(200, body, metadata("serving_default", "explain")) as (url, asked):
        (evidence,) = RemotePredictor(url + path).explain([b"x"]) or []
    assert evidence.label == "sad"
    assert evidence.map.tolist() == [[-1, 0], [2.5, pytest.approx(1e-3)]]
    instances = [{"b64": "eA=="}]
    assert asked == [
        (f"{path}/metadata", None),
        (f"{path}:predict", {"signature_name": "explain", "instances": instances}),
    ]
    with answering(200, body, metadata("serving_default")) as (url, asked):
        assert RemotePredictor(url).explain([b"x"]) is None
    assert asked == [("/v1/models/dog_emotion/metadata", None)]


@pytest.mark.parametrize("found", [b"", b"[]", b'{"metadata": 1}', b'{"metadata": null}'])
def test_metadata_that_are_none_are_refused(found: bytes) -> None:
    with (
        answering(200, b"", found) as (url, _),
        pytest.raises(ModelError, match="/metadata does not answer like"),
    ):
        RemotePredictor(url).explain([b"x"])


@pytest.mark.parametrize("evidence", [None, 1, [], [[]], [1, 2], [[1], [1, 2]], [["a"]]])
def test_evidence_that_is_no_table_of_numbers_is_refused(evidence: Any) -> None:
    body = json.dumps({"predictions": [{**GOOD, "map": evidence}]}).encode()
    with (
        answering(200, body, metadata("explain")) as (url, _),
        pytest.raises(ModelError, match="does not answer like"),
    ):
        RemotePredictor(url).explain([b"x"])


def test_a_server_that_is_not_there_is_named() -> None:
    with answering(200, b"") as (url, _):
        pass
    with pytest.raises(ModelError, match=r"cannot be reached .*: is the server running"):
        RemotePredictor(url).predict([b"x"])


@pytest.mark.parametrize("path", ["", "/v1/models/dog_emotion"])
def test_a_version_can_be_asked_by_its_label(path: str) -> None:
    body = json.dumps({"predictions": [GOOD]}).encode()
    metadata = json.dumps({"metadata": {"signature_def": {"signature_def": {}}}}).encode()
    with answering(200, body, metadata) as (url, asked):
        remote = RemotePredictor(url + path, "canary")
        remote.predict([b"\xff\xd8one"])
        remote.explain([b"\xff\xd8one"])
    base = "/v1/models/dog_emotion/labels/canary"
    assert [path for path, _ in asked] == [f"{base}:predict", f"{base}/metadata"]


def test_a_label_beside_a_version_is_refused() -> None:
    with pytest.raises(ModelError, match="names a version: leave out --label canary"):
        RemotePredictor("http://host:8501/v1/models/dogs/versions/3", "canary")
