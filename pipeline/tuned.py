"""What the Tuner has found, as a file that `--config` takes."""

import json
from typing import Any

from components.training.hyperparameters import UNFROZEN, as_toml, searched
from data.contract.nodes import TUNER
from pipeline.outputs import Outputs

_TRIALS, _SCORE, _ID = "tuner_results.json", "score", "trial_id"
"""TFX's names: of the file of all trials, and of what each has beside its values."""


def tuned_toml(outputs: Outputs) -> str | None:
    """The settings that a run has found, and what they are worth; None if it did not search."""
    if (TUNER, "tuner_results") not in outputs.artifacts:
        return None
    trials = json.loads((outputs.uri(TUNER, "tuner_results") / _TRIALS).read_text())
    unfrozen: list[dict[str, Any]] = [trial for trial in trials if UNFROZEN in trial]
    best = min(unfrozen, key=lambda trial: trial[_SCORE])
    (before,) = (trial for trial in unfrozen if trial[UNFROZEN] == 0)
    worth = (
        f"Nothing is better than the settings as they were: val loss {best[_SCORE]:.4f}."
        if best is before
        else f"Val loss {best[_SCORE]:.4f}; {before[_SCORE]:.4f} with the settings as they were."
    )
    values = {name: value for name, value in best.items() if name not in (_SCORE, _ID)}
    return f"# {worth}\n{as_toml(searched(values))}"
