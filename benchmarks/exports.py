"""What the training of a run exported, whether the gate let it pass or not, and what it says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.asking.predictor import Predictor
from serving.asking.pushed import find_version


def newest_export(workdir: Path) -> Path:
    """The version that the newest training has exported."""
    models = (workdir / "pipeline" / "Trainer" / "model").glob("*/Format-Serving")
    return find_version(max(models, key=lambda model: int(model.parent.name)))


def is_right(version: Path, jpegs: Sequence[bytes], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Whether a version gives each photo its label, [N]."""
    told = [answer.label for answer in Predictor(version).predict(jpegs)]
    return np.array(told) == np.array(labels)
