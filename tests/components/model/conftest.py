"""A machine without ImageNet weights and without the host that has them."""

from pathlib import Path

import pytest

from tests.ports import free_port


@pytest.fixture
def no_cache_and_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' folder is empty, and nothing listens where the weights are asked for."""
    from components.model.backbones import efficientnet_b0  # imports TensorFlow

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(efficientnet_b0, "URL", f"http://127.0.0.1:{free_port()}/b0.h5")
    monkeypatch.setattr(efficientnet_b0, "ANSWER_WITHIN", 1.0)
