"""The HTTP side: limits, the page's headers, and clients that behave badly."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from serving.embedded.app import inflate
from serving.embedded.config_files import ModelConfig
from serving.embedded.status import RequestError
from tests.serving.conftest import Client, serving, wait_for
from tests.serving.embedded.models import NAME

MIB = 2**20


@pytest.fixture(scope="module")
def client(conformance_models: Path) -> Iterator[Client]:
    with serving(ModelConfig(NAME, conformance_models)) as client:
        wait_for(lambda: "AVAILABLE" in client.states(NAME).values())
        yield client


def healthy(client: Client) -> bool:
    reply = client.predict(NAME, {"instances": [1]})
    return reply.status == 200 and reply.json == {"predictions": [2.25]}


@pytest.mark.parametrize("size", [33 * MIB, 200 * MIB], ids=["too large", "far too large"])
def test_a_body_that_is_too_large_is_refused(client: Client, size: int) -> None:
    try:
        reply = client.ask("POST", f"/v1/models/{NAME}:predict", bytes(size))
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused while it was being sent
    else:
        assert reply.status == 413
        assert "at most 33554432 bytes" in reply.json["error"]
    assert healthy(client)


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"{}" * 1000)[:-20], gzip.compress(bytes(101 * MIB))],
    ids=["no gzip", "cut off", "a bomb"],
)
def test_a_bad_gzip_body_is_refused(client: Client, body: bytes) -> None:
    headers = {"Content-Encoding": "gzip"}
    reply = client.ask("POST", f"/v1/models/{NAME}:predict", body, headers)
    assert reply.status == 400
    assert "Failed to uncompress gzipped body" in reply.json["error"]
    assert healthy(client)


def test_inflate_gives_what_was_compressed() -> None:
    assert inflate(gzip.compress(b"x" * 1000), 1000) == b"x" * 1000
    with pytest.raises(RequestError, match="more than 999 bytes"):
        inflate(gzip.compress(b"x" * 1000), 999)


def test_clients_that_send_slowly_keep_nobody_waiting(client: Client) -> None:
    address = urlsplit(client.url)
    head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{"
    slow = []
    for _ in range(400):
        connection = socket.create_connection((address.hostname, address.port or 80))
        connection.sendall(head.encode())
        slow.append(connection)
    try:
        assert healthy(client)
    finally:
        for connection in slow:
            connection.close()
    assert healthy(client)


def test_a_connection_takes_one_request_after_another(client: Client) -> None:
    body = json.dumps({"instances": [1]}).encode()
    head = f"POST /v1/models/{NAME}:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
    address = urlsplit(client.url)
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        connection.settimeout(60)
        for _ in range(3):
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            answer = b""
            while b"2.25" not in answer:
                answer += connection.recv(65536)


def test_a_client_that_goes_away_harms_nobody(client: Client) -> None:
    address = urlsplit(client.url)
    for sent in (b"", b"POST", b"POST /v1/models/x:predict HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"):
        with socket.create_connection((address.hostname, address.port or 80)) as connection:
            connection.sendall(sent)
    assert healthy(client)


def test_what_is_not_http_gets_400(client: Client) -> None:
    address = urlsplit(client.url)
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        connection.settimeout(60)
        connection.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert b" 400 " in connection.recv(65536)
    assert healthy(client)


def test_many_clients_at_once_all_get_their_own_answer(client: Client) -> None:
    wrong: list[object] = []

    def ask(number: int) -> None:
        for step in range(10):
            x = number * 100 + step
            reply = client.predict(NAME, {"instances": [x]})
            if reply.status != 200 or reply.json != {"predictions": [x / 4 + 2]}:
                wrong.append((x, reply))

    threads = [threading.Thread(target=ask, args=[number]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/icon.svg"])
def test_the_page_needs_nothing_from_elsewhere(client: Client, path: str) -> None:
    reply = client.ask("GET", path)
    assert reply.status == 200
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert b"https://" not in reply.body


@pytest.mark.parametrize("path", ["/nothing", "/../pyproject.toml", "/%2e%2e/server.py"])
def test_nothing_but_the_page_is_there(client: Client, path: str) -> None:
    assert client.ask("GET", path).status == 404


def test_the_page_learns_the_models(client: Client) -> None:
    assert client.ask("GET", "/models.json").json == {NAME: []}


def test_the_server_says_busy_rather_than_take_more() -> None:
    from serving.embedded.app import Limits, _Gate

    gate = _Gate(Limits(waiting=1, threads=1, held_bytes=10))
    with gate.entered(), gate.entered(), pytest.raises(RequestError, match="busy"), gate.entered():
        pass
    with gate.entered():
        pass
    gate.hold(10)
    with pytest.raises(RequestError, match="busy"):
        gate.hold(1)


def test_a_request_that_does_not_arrive_gets_408() -> None:
    import asyncio

    from serving.embedded.app import Limits, RestEndpoint
    from serving.embedded.metrics import Metrics
    from serving.embedded.rest_api import RestApi

    endpoint = RestEndpoint(RestApi({}, Metrics()), Limits(threads=1, seconds=0.05))
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        await asyncio.sleep(60)
        return {}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/models/m:predict",
        "raw_path": b"/v1/models/m:predict",
        "query_string": b"",
        "headers": [],
    }
    started = time.monotonic()
    asyncio.run(endpoint(scope, receive, send))  # type: ignore[arg-type]
    endpoint.close()
    assert time.monotonic() - started < 30
    assert sent[0]["status"] == 408
