"""What the tests of every room share."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

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


@pytest.fixture(scope="session")
def draw_scene() -> Callable[[int], NDArray[np.uint8]]:
    """Soft coloured shapes, RGB uint8 [200, 240, 3], as unlike from seed to seed as photos are."""

    def draw(seed: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(seed)
        coarse = rng.normal(0, 1, (16, 20, 3)).astype(np.float32)
        soft = cv2.resize(coarse, (240, 200), interpolation=cv2.INTER_CUBIC)
        return np.clip(128 + 50 * soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)

    return draw
