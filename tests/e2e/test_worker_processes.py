"""Beam's workers as processes of their own, for every node that runs on Beam."""

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from data.contract.features import SHA256

Result = subprocess.CompletedProcess[str]
Command = Callable[..., Result]

WORKERS = ("--set=beam.direct_running_mode=multi_processing", "--set=beam.direct_num_workers=2")
TINY = ("run", "--profile=tiny", "--set=gate.over_majority=-1")

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


def photos_of(workdir: Path) -> Counter[tuple[str, bytes]]:
    """The view and the photo of every record of the activations; the files may differ."""
    found: Counter[tuple[str, bytes]] = Counter()
    for file in workdir.glob("pipeline/ActivationCache/activations/*/Split-*/view-*"):
        view = f"{file.parent.name}/{file.name[:7]}"
        for record in tf.data.TFRecordDataset(str(file)):
            example = tf.train.Example.FromString(record.numpy())
            found[view, example.features.feature[SHA256].bytes_list.value[0]] += 1
    return found


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
    assert len(photos_of(here)) > 200
    assert photos_of(here) == photos_of(there)
