"""Beam's workers as processes of their own, for every node that runs on Beam."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Result = subprocess.CompletedProcess[str]
Command = Callable[..., Result]

WORKERS = ("--set=beam.direct_running_mode=multi_processing", "--set=beam.direct_num_workers=2")
TINY = ("run", "--profile=tiny", "--set=gate.accuracy_floor=0")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def in_processes(run: Command, home: Path) -> Result:
    return run(*TINY, *WORKERS, "--workdir=processes", cwd=home)


@pytest.fixture(scope="module")
def in_this_process(run: Command, home: Path) -> Result:
    return run(*TINY, "--workdir=this", cwd=home)


def test_a_whole_run_works_in_worker_processes(in_processes: Result, home: Path) -> None:
    assert in_processes.returncode == 0, in_processes.stderr
    assert (home / "processes" / "metrics.json").is_file()
    assert "sdk_worker_main" in (home / "processes" / "run.log").read_text(errors="replace")


def test_they_make_the_same_records_and_activations(
    in_processes: Result, in_this_process: Result, home: Path
) -> None:
    assert in_this_process.returncode == 0, in_this_process.stderr
    here, there = home / "this", home / "processes"
    shards = [
        json.loads((folder / "data" / "span-1" / "manifest.json").read_text())["shards"]
        for folder in (here, there)
    ]
    assert shards[0] == shards[1]
    made = sorted(here.glob("pipeline/ActivationCache/activations/*/Split-*/*"))
    assert made
    for file in made:
        place = f"pipeline/ActivationCache/activations/*/{file.parent.name}/{file.name}"
        (twin,) = there.glob(place)
        assert file.read_bytes() == twin.read_bytes()
