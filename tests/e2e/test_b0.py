"""The recipe of profile `photos` on EfficientNetB0, whose weights need not be known for that."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from data.drawn_dogs import draw_dataset

pytestmark = pytest.mark.slow


def test_the_whole_recipe_runs_on_b0(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    draw_dataset(tmp_path / "dogs", per_class=20, seed=0)
    done = run(
        "run",
        "--photos=dogs",
        "--set=model.backbone=efficientnet_b0",
        "--set=model.weights=random",
        "--set=training.refit=true",
        "--set=gate.over_majority=-1",
        "--set=gate.recall_floor=0",
        "--set=gate.calibration_error=1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "phase frozen: the head's optimum" in done.stdout
    assert "refit: on the training and the validation photos together" in done.stdout
    training = json.loads((tmp_path / "runs" / "photos" / "metrics.json").read_text())["training"]
    assert training["backbone"] == "efficientnet_b0"
    assert [phase["name"] for phase in training["phases"]] == ["frozen", "unfrozen"]
