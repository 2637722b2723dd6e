"""Runs that are killed, repeated, refused, interrupted and out of disk, with the tiny backbone.

They share one folder and follow each other. They run from a copy of the source: an edit of the
trainer is one of the things that happen.
"""

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from tests import disks

Result = subprocess.CompletedProcess[str]
Command = Callable[..., Result]
Snapshot = dict[str, str]

ROOT = Path(__file__).parents[2]
RUN = ("run", "--profile=tiny", "--set=gate.over_majority=-1")
"""A few thousand random weights learn little in four epochs; accuracy is not the point here."""
UP_TO_TRAINER = {
    "ImportExampleGen",
    "StatisticsGen",
    "CuratedSchema",
    "ExampleValidator",
    "DriftValidator",
    "DataGate",
    "Transform",
    "ActivationCache",
    "Trainer",
}
DISK = 200 * 2**20


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our source, from which the command is made to run."""
    source = tmp_path_factory.mktemp("source")
    for room in ("components", "data", "pipeline", "serving"):
        shutil.copytree(ROOT / room, source / room)
    return source


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A disk of 200 MB, or None where this user may not mount one."""
    disk = tmp_path_factory.mktemp("disk")
    with disks.small_disk(disk, str(DISK)) as mounted:
        yield disk if mounted else None


@pytest.fixture(scope="module")
def home(small_disk: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_disk or tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def workdir(home: Path) -> Path:
    return home / "runs" / "tiny"


@pytest.fixture(scope="module")
def run_tiny(run: Command, home: Path, source: Path) -> Command:
    """Runs the tiny profile to its end."""

    def run_tiny() -> Result:
        return run(*RUN, cwd=home, PYTHONPATH=str(source))

    return run_tiny


class Halted(NamedTuple):
    """A run that is stopped when it has just committed its first epoch."""

    process: subprocess.Popen[str]
    epochs: int
    """How many epochs were committed by then."""


@pytest.fixture(scope="module")
def run_until_first_epoch(
    dog_emotion: str, offline: Mapping[str, str], home: Path, workdir: Path, source: Path
) -> Iterator[Callable[[], Halted]]:
    """Starts a run and stops it at a point where a training has something to lose."""
    started: list[subprocess.Popen[str]] = []

    def start() -> Halted:
        # A child inherits that its parent ignores an interruption, as in a background job.
        ours = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [dog_emotion, *RUN],
            cwd=home,
            env={**offline, "PYTHONPATH": str(source)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        signal.signal(signal.SIGINT, ours)
        started.append(process)
        while not (epochs := list(workdir.glob("pipeline/Trainer/*/unfinished/*/*/epoch-*[0-9]"))):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGSTOP)
        return Halted(process, int(max(epochs).name.removeprefix("epoch-")))

    yield start
    for process in started:
        with process:
            process.kill()


class Killed(NamedTuple):
    """A run that was killed, what it had made, and another that was tried meanwhile."""

    epochs: int
    artifacts: Snapshot
    refused: Result


@pytest.fixture(scope="module")
def killed(
    run_until_first_epoch: Callable[[], Halted],
    run_tiny: Command,
    workdir: Path,
    snapshot: Callable[[Path], Snapshot],
) -> Killed:
    halted = run_until_first_epoch()
    refused = run_tiny()
    halted.process.kill()
    halted.process.communicate()
    return Killed(halted.epochs, artifacts(workdir, snapshot), refused)


@pytest.fixture(scope="module")
def resumed(run_tiny: Command, killed: Killed) -> Result:
    return run_tiny()


@pytest.fixture(scope="module")
def pushed(resumed: Result, workdir: Path, snapshot: Callable[[Path], Snapshot]) -> Snapshot:
    """The bytes of the pushed model."""
    assert resumed.returncode == 0, resumed.stderr
    return snapshot(workdir / "serving")


def artifacts(workdir: Path, snapshot: Callable[[Path], Snapshot]) -> Snapshot:
    """The bytes of all that the nodes before the Trainer made."""
    folders = [workdir / "pipeline" / node for node in UP_TO_TRAINER - {"Trainer"}]
    return {name: digest for each in folders for name, digest in snapshot(each).items()}


def cached_nodes(workdir: Path) -> set[str]:
    nodes = json.loads((workdir / "metrics.json").read_text())["nodes"]
    assert {row["node"] for row in nodes} > UP_TO_TRAINER
    return {row["node"] for row in nodes if row["cached"]}


def versions(workdir: Path) -> list[Path]:
    return sorted((workdir / "serving" / "dog_emotion").iterdir())


def store(workdir: Path) -> MetadataStore:
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(workdir / "metadata.sqlite")
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READONLY
    return MetadataStore(connection)


def last_states(workdir: Path) -> dict[str, str]:
    """How each node of the newest run ended, according to MLMD."""
    metadata = store(workdir)
    newest = max(context.id for context in metadata.get_contexts_by_type("pipeline_run"))
    states = {}
    for execution in metadata.get_executions_by_context(newest):
        contexts = metadata.get_contexts_by_execution(execution.id)
        (node,) = (each.name.split(".", 1)[1] for each in contexts if each.type == "node")
        states[node] = mlmd.Execution.State.Name(execution.last_known_state)
    return states


def test_a_second_run_in_the_folder_is_refused_in_one_line(killed: Killed, workdir: Path) -> None:
    assert killed.refused.returncode == 1
    (line,) = killed.refused.stderr.splitlines()
    assert f"another run is using {workdir}" in line


def test_a_killed_run_goes_on_after_its_last_epoch(killed: Killed, resumed: Result) -> None:
    assert killed.epochs >= 1
    assert f"  phase frozen: going on after epoch {killed.epochs}\n" in resumed.stdout
    assert "  phase unfrozen: going on" not in resumed.stdout
    assert (resumed.returncode, resumed.stderr) == (0, "")


def test_it_keeps_all_that_the_killed_run_had_made(
    killed: Killed, resumed: Result, workdir: Path, snapshot: Callable[[Path], Snapshot]
) -> None:
    assert ", unchanged: " in resumed.stdout
    assert cached_nodes(workdir) >= UP_TO_TRAINER - {"Trainer"}
    assert killed.artifacts.items() <= artifacts(workdir, snapshot).items()


def test_it_ends_with_all_epochs_and_one_pushed_model(resumed: Result, workdir: Path) -> None:
    metrics = json.loads((workdir / "metrics.json").read_text())
    epochs = {phase["name"]: phase["epochs"] for phase in metrics["training"]["phases"]}
    assert epochs == {"frozen": 2, "unfrozen": 2}
    assert [str(version) for version in versions(workdir)] == [metrics["model"]]
    assert not list(workdir.glob("pipeline/Trainer/*/unfinished/*"))


def test_a_second_run_takes_all_from_the_cache_and_pushes_nothing_new(
    run_tiny: Command, pushed: Snapshot, workdir: Path, snapshot: Callable[[Path], Snapshot]
) -> None:
    (version,) = versions(workdir)
    span = workdir / "data" / "span-1"
    shutil.copytree(span, span.with_name("span-1.bak"))  # as a careful user may
    again = run_tiny()
    assert (again.returncode, again.stderr) == (0, "")
    assert cached_nodes(workdir) >= UP_TO_TRAINER
    assert "phase frozen:" not in again.stdout
    assert f"model     {version}\n" in again.stdout
    assert snapshot(workdir / "serving") == pushed


@pytest.fixture(scope="module")
def interrupted(
    run_until_first_epoch: Callable[[], Halted], pushed: Snapshot, source: Path
) -> Result:
    """A run after an edit of the trainer, interrupted in the training that follows from it."""
    with (source / "components" / "nodes" / "trainer.py").open("a") as trainer:
        trainer.write("# edited\n")
    process, _ = run_until_first_epoch()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, "", stderr)


def test_an_edit_of_the_trainer_trains_again_on_what_is_cached(
    interrupted: Result, workdir: Path
) -> None:
    states = last_states(workdir)
    for node in UP_TO_TRAINER - {"Trainer"}:
        assert states[node] == "CACHED"
    assert states["Trainer"] not in ("CACHED", "COMPLETE")
    assert "Evaluator" not in states


def test_an_interruption_is_130_in_one_line_and_leaves_the_good_model(
    interrupted: Result,
    pushed: Snapshot,
    workdir: Path,
    snapshot: Callable[[Path], Snapshot],
) -> None:
    assert interrupted.returncode == 130
    (line,) = interrupted.stderr.splitlines()
    assert line.startswith("dog-emotion: interrupted")
    assert snapshot(workdir / "serving") == pushed


def test_a_full_disk_is_1_in_one_line_and_leaves_the_good_model_and_the_metadata(
    run_tiny: Command,
    interrupted: Result,
    pushed: Snapshot,
    small_disk: Path | None,
    workdir: Path,
    snapshot: Callable[[Path], Snapshot],
) -> None:
    """There is room for the next epochs but not for the model that they end with."""
    if small_disk is None:
        pytest.skip("a small disk to fill cannot be mounted by this user")
    before = artifacts(workdir, snapshot)
    known = {artifact.id for artifact in store(workdir).get_artifacts()}
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(shutil.disk_usage(small_disk).free - 2**20))
    full = run_tiny()
    assert full.returncode == 1
    (line,) = full.stderr.splitlines()
    assert "No space left on device" in line
    assert "make room or name another --workdir" in line
    ballast.unlink()
    assert snapshot(workdir / "serving") == pushed
    assert artifacts(workdir, snapshot) == before
    assert {artifact.id for artifact in store(workdir).get_artifacts()} >= known
    with closing(sqlite3.connect(workdir / "metadata.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
