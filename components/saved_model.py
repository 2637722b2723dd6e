"""What a SavedModel is known by: the content of its files."""

import hashlib
from pathlib import Path

from data.contract.model import TEST_FIGURES


def model_files(model: Path) -> list[str]:
    """The path of every file within a model, sorted; without what Pusher has added."""
    found = (path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    return sorted(name for name in found if name != TEST_FIGURES)


def fingerprint(model: Path) -> str:
    """SHA-256 of a SavedModel: the path within it and the content of every file."""
    digest = hashlib.sha256()
    for name in model_files(model):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256((model / name).read_bytes()).digest())
    return digest.hexdigest()
