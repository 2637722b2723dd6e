from pathlib import Path
from typing import Any

import pytest

from benchmarks import install
from benchmarks.bench import SMOKE, Bench, measure_speed

NEED_THE_PEERS = {"torch-lite0", "fastai-lite0", "onnxruntime-trunk"}


class Measurements(Bench):
    """Every measurement takes a second."""

    def keras(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"seconds": 1.0}

    def torch(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"seconds": 1.0}

    def trunk(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"seconds": 1.0}

    def ours(self, *_: Any, **__: Any) -> dict[str, Any]:
        seconds = {"ActivationCache": 1.0, "Trainer": 1.0}
        return {"cold": {"seconds": seconds, "wall": 4.0}, "warm": {"seconds": seconds}}


@pytest.mark.parametrize("ready", [True, False])
def test_rows_that_need_the_peers_environment_are_left_out_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: bool
) -> None:
    monkeypatch.setattr(install, "is_ready", lambda: ready)
    rows = {row.name for row in measure_speed(Measurements(SMOKE, tmp_path, tmp_path))}
    assert {"keras-lite0", "keras-lite0-warm", "training-share"} <= rows
    assert rows & NEED_THE_PEERS == (NEED_THE_PEERS if ready else set())


def test_an_environment_that_cannot_be_made_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    uv = tmp_path / "uv"
    uv.write_text('#!/bin/sh\n[ "$1" = venv ] && exit 0\necho "no such wheel" >&2\nexit 2\n')
    uv.chmod(0o755)
    for name, value in (("VENV", tmp_path / "venv"), ("STAMP", tmp_path / "stamp"), ("UV", uv)):
        monkeypatch.setattr(install, name, value)
    install.main()
    error = capsys.readouterr().err
    assert "no such wheel" in error
    assert "bench: the rows that need .venv-bench are left out" in error
    assert not install.is_ready()
