"""Beam's workers on two hosts, shown on one: pools with working folders of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.beam_pool import Pool
from tests.e2e.conftest import Command

TINY = ("run", "--profile=tiny", "--set=gate.over_majority=-1")

pytestmark = pytest.mark.slow

Start = Callable[[str], Pool]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def here(run: Command, home: Path) -> Path:
    """The folder of a run whose workers are in its own process."""
    done = run(*TINY, "--workdir=here", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "here"
