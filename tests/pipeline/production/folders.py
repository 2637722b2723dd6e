"""Folders of runs with versions that only look complete."""

from pathlib import Path

from data.contract.servable import NEEDED_FILES
from pipeline.outputs import open_store
from pipeline.workdir import Workdir


def make_workdir(root: Path, *versions: int) -> Workdir:
    """A folder in which something has run and pushed these versions."""
    workdir = Workdir(root)
    root.mkdir(parents=True)
    open_store(workdir.metadata)
    for version in versions:
        for name in NEEDED_FILES:
            file = workdir.serving / str(version) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    return workdir
