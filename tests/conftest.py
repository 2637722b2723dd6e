"""What the tests of every room share."""

import importlib.util
import os
from pathlib import Path

import pytest

NEED_KFP = ["e2e/test_run_spec.py", "pipeline/cluster"]

collect_ignore = [] if importlib.util.find_spec("kfp") else NEED_KFP


def pytest_report_header() -> str | None:
    """Tells what is left out, as is the case with Python 3.12 and 3.13."""
    return f"no kfp, so not tested: {', '.join(collect_ignore)}" if collect_ignore else None


@pytest.fixture(scope="session")
def dog_photos() -> Path:
    """The folder of real photos that DOG_PHOTOS names, for tests marked `photos`."""
    named = os.environ.get("DOG_PHOTOS")
    if not named:
        pytest.skip("DOG_PHOTOS names no folder of real photos")
    folder = Path(named)
    if not folder.is_dir():
        raise NotADirectoryError(f"DOG_PHOTOS={named} is not a folder")
    return folder
