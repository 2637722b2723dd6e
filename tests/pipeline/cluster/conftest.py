"""Where the specs of `specs.py` run."""

from pathlib import Path

import pytest

from pipeline.cluster.executions import Execution
from pipeline.cluster.run_spec import run_spec
from pipeline.cluster.spec import parse_spec
from tests.pipeline.cluster.specs import COMMANDS, Run, Values


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    (data / "photos").write_text("dogs")
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def run(root: Path, data: Path) -> Run:
    """Runs a spec; returns what became of each task."""

    def run(values: Values) -> list[Execution]:
        spec = parse_spec(values, Path("spec.json"))
        return run_spec(spec, root=root, data=data, commands=COMMANDS, report=lambda *_: None)

    return run
