"""Runs to compare that no pipeline has made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.evaluation.table import read_table
from pipeline.report.runs import Photo, Run
from tests.components.report.conftest import write_evaluation

NewRun = Callable[..., Run]
CLASSES = ("angry", "happy", "relaxed", "sad")


@pytest.fixture
def new_run(tmp_path: Path) -> NewRun:
    """Makes a run; what is given says otherwise."""

    def make(name: str = "before", *, seed: int = 0, photos: int = 200, **other: Any) -> Run:
        folder = tmp_path / f"evaluation-{name}-{seed}"
        classes = other.get("classes", CLASSES)
        evaluation = write_evaluation(
            folder, classes, photos=photos, seed=seed, filename=other.pop("filename", "{number}")
        )
        values: dict[str, Any] = {
            "name": name,
            "classes": classes,
            "evaluation": evaluation,
            "predictions": read_table(folder, classes),
            "settings": {"training": {"seed": 0}, "classes": list(classes)},
            "versions": {"tfx": "1.0"},
            "code": {"Trainer": "a"},
            "span": 1,
            "manifest_sha256": "m",
            "photos": {(f"{n:064x}", 0): Photo("test", "happy") for n in range(photos)},
            "test_records": (),
            "pushed": "17",
        }
        return Run(**{**values, **other})

    return make
