"""Finds the model to ask: that of a folder, or the newest one pushed."""

from collections.abc import Iterable
from pathlib import Path

from data.contract.model import MODEL_NAME
from data.contract.servable import SAVED_MODEL, is_complete
from serving.asking.errors import ModelError


def find_version(model_dir: Path) -> Path:
    """The SavedModel that `model_dir` stands for: itself, or the newest version inside it.

    A version is a folder whose name is an integer, as TensorFlow Serving wants it; the largest
    complete one wins, and one that lacks files is passed over.

    Raises:
        ModelError: there is no complete model.
    """
    try:
        if is_complete(model_dir):
            return model_dir
        if (model_dir / SAVED_MODEL).exists():
            raise ModelError(
                f"{model_dir} is an incomplete model (no variables/variables.index): copy the "
                "whole folder again, or make a new model with `dog-emotion run`"
            )
        versions = complete_versions(model_dir.glob("*"))
    except OSError as error:
        raise ModelError(
            f"{model_dir} cannot be read ({error.strerror}): choose another"
        ) from error
    if not versions:
        problem = "holds no complete model" if model_dir.is_dir() else "is not a folder"
        raise ModelError(
            f"{model_dir} {problem}: name a version or a folder of versions, "
            "`dog-emotion run` makes one"
        )
    return max(versions, key=_number)


def newest_model(runs: Path) -> Path:
    """The newest version pushed by any run below `runs`.

    Raises:
        ModelError: no run has pushed a model.
    """
    try:
        versions = complete_versions(runs.glob(f"*/serving/{MODEL_NAME}/*"))
    except OSError as error:
        raise ModelError(f"{runs} cannot be read ({error.strerror}): name a model") from error
    if not versions:
        raise ModelError(f"no model was pushed below {runs}: `dog-emotion run` makes one")
    return max(versions, key=_number)


def complete_versions(folders: Iterable[Path]) -> list[Path]:
    """Those of some folders that are versions and lack no file, in their order."""
    return [
        folder
        for folder in folders
        if folder.name.isascii() and folder.name.isdigit() and is_complete(folder)
    ]


def _number(version: Path) -> int:
    return int(version.name)
