"""A machine without ImageNet weights and without the host that has them."""

import socket
from pathlib import Path

import pytest


@pytest.fixture
def no_cache_and_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' folder is empty, and nothing listens where the weights are asked for."""
    from components.model.backbones import efficientnet_b0  # imports TensorFlow

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(efficientnet_b0, "URL", f"http://127.0.0.1:{port}/b0.h5")
    monkeypatch.setattr(efficientnet_b0, "ANSWER_WITHIN", 1.0)
