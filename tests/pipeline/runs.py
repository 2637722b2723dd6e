"""Whole runs with the tiny backbone."""

from pathlib import Path

from pipeline.config import load_config
from pipeline.local_runner import run_locally
from pipeline.summary import Summary
from pipeline.workdir import Workdir

ANY_MODEL = ("gate.over_majority=-1", "gate.calibration_error=1", "gate.error_rate=0")
"""A gate that nothing but a model's costs can close."""


def run_tiny(workdir: Path, photos: Path, *overrides: str) -> Summary:
    """A run in a folder, with the settings of the `tiny` profile and these over them."""
    config = load_config("tiny", overrides=overrides)
    folder = Workdir(workdir)
    with folder.locked():
        return run_locally(config, folder, photos)


def again(summary: Summary) -> set[str]:
    """The nodes that ran and were not taken from the cache."""
    return {node["node"] for node in summary.nodes if not node["cached"]}
