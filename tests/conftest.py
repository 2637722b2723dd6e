"""What the tests of every room share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def dog_photos() -> Path:
    """The folder of real photos that DOG_PHOTOS names, for tests marked `photos`."""
    named = os.environ.get("DOG_PHOTOS")
    if not named:
        pytest.skip("DOG_PHOTOS names no folder of real photos")
    folder = Path(named)
    if not folder.is_dir():
        raise NotADirectoryError(f"DOG_PHOTOS={named} is no folder")
    return folder
