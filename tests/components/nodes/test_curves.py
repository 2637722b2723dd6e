from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

from components.staging import readable
from components.training.history import HISTORY, PhaseHistory, write_history

EPOCH = {"accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.4, "val_loss": 1.1}


@pytest.mark.parametrize("remote", [False, True])
def test_the_curves_of_a_training_are_drawn_from_its_history(
    run_node: Any, new_artifact: Any, to_remote: Any, remote: bool
) -> None:
    run = new_artifact(standard_artifacts.ModelRun)
    write_history([PhaseHistory("frozen", [EPOCH, EPOCH], kept=1)], Path(run.uri) / HISTORY)
    if remote:
        run = to_remote(run)
    curves = run_node("Curves", {"model_run": run}, remote=remote)["curves"]

    with readable(f"{curves.uri}/curves.png") as picture:
        assert picture.read_bytes().startswith(b"\x89PNG")
