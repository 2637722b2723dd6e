"""Facts about photos that need no ingestion."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.audit import Fact
from data.drawn_dogs import draw_photo
from data.near_duplicates import Radius

NewFact = Callable[..., Fact]
RADIUS = Radius(70, 0.824)
"""As that of a few thousand photos."""


@pytest.fixture(scope="session")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared photo."""
    file = tmp_path_factory.mktemp("prepared") / "dog.jpg"
    file.write_bytes(draw_photo("happy", np.random.default_rng(0)))
    return file


@pytest.fixture
def new_fact(jpeg: Path) -> NewFact:
    """Makes a fact about a good photo; what is given says otherwise."""

    def make(name: str = "happy/a.jpg", label: str = "happy", **facts: object) -> Fact:
        values: dict[str, object] = {
            "jpeg": str(jpeg),
            "sha256": name,
            "pixels": name,
            "group": name,
            "split": "train",
            "width": 400,
            "height": 300,
            "brightness": 120.0,
        }
        return Fact(name, label, **{**values, **facts})  # type: ignore[arg-type]

    return make
