"""Beam's workers from pools beside a Flink, on two hosts with an address, a root folder and an
environment each, which share the run's folder and nothing else."""

import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import tensorflow as tf

from tests.beam_pool import Pool
from tests.e2e.beam_hosts import job_server
from tests.e2e.conftest import Command
from tests.e2e.network_hosts import HERE, ROOT, make_root, network, pool_on, skip_without_namespaces

TINY = ("run", "--profile=tiny", "--set=gate.over_majority=-1")
DIRECT = {"no_grpc_proxy": f"localhost,{HERE}"}
"""The proxy of the tests' offline machine knows no job server."""
MOST_MB = 2000
"""What the workers of a host may take at the most."""
VIEWS = "pipeline/ActivationCache/activations/*/Split-*/view-*"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def here(run: Command, home: Path) -> Path:
    """The folder of a run whose workers are in its own process."""
    done = run(*TINY, "--workdir=here", cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "here"


@pytest.fixture(scope="module")
def roots() -> Iterator[list[Path]]:
    """The root folders of two hosts."""
    skip_without_namespaces()
    with tempfile.TemporaryDirectory(prefix="dog-emotion-hosts-") as folder:
        found = [Path(folder, name) for name in ("one", "other")]
        for root in found:
            make_root(root)
        yield found


@contextmanager
def hosts(roots: list[Path], home: Path) -> Iterator[tuple[list[Pool], list[str]]]:
    """A pool on each host, and the arguments of a run whose workers are theirs."""
    with (
        network(roots) as (first, second),
        pool_on(first, home) as one,
        pool_on(second, home) as other,
        job_server([one.address, other.address], here=HERE) as (jobs, workers),
    ):
        beam = {
            "runner": "PortableRunner",
            "job_endpoint": jobs,
            "environment_type": "EXTERNAL",
            "environment_config": workers,
        }
        yield [one, other], [f"--set=beam.{name}={value}" for name, value in beam.items()]


def records(workdir: Path) -> Mapping[str, str]:
    """The hash of each file of records."""
    manifest = json.loads((workdir / "data" / "span-1" / "manifest.json").read_text())
    return dict(manifest["shards"])


def activations(workdir: Path) -> Counter[tuple[str, bytes]]:
    """Every record of the activations with the view that it is of."""
    return Counter(
        (f"{file.parent.name}/{file.name}", record.numpy())
        for file in workdir.glob(VIEWS)
        for record in tf.data.TFRecordDataset(str(file))
    )


def statistics(workdir: Path) -> Mapping[str, bytes]:
    """StatisticsGen's figures of each split."""
    found = workdir.glob("pipeline/StatisticsGen/statistics/*/Split-*/FeatureStats.pb")
    return {file.parent.name: file.read_bytes() for file in found}


def figures(workdir: Path) -> Mapping[str, object]:
    """How the model has trained, and what the Evaluator makes of it, but for times and sizes."""
    found = json.loads((workdir / "metrics.json").read_text())
    of_this_run = {"cost", "model", "conditions"}
    tested = {name: each for name, each in found["test"].items() if name not in of_this_run}
    return {"training": found["training"], "test": tested}


def has_worked(pool: Pool) -> bool:
    """Whether a pool's process has loaded TensorFlow, as a pool alone does not."""
    return "libtensorflow" in Path(f"/proc/{pool.process.pid}/maps").read_text()


def peak_mb(pool: Pool) -> int:
    """The most memory that a pool's process, whose threads the workers are, has had."""
    status = Path(f"/proc/{pool.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1000


def writes_activations(pool: Pool) -> bool:
    """Whether a file of activations is open in the process of a pool."""
    for file in Path(f"/proc/{pool.process.pid}/fd").iterdir():
        try:
            if "/ActivationCache/" in str(file.readlink()):
                return True
        except FileNotFoundError:
            continue  # closed meanwhile
    return False


def test_a_host_has_an_address_a_root_and_an_environment_of_its_own(
    roots: list[Path], home: Path
) -> None:
    with hosts(roots, home) as (pools, _):
        networks = {Path(f"/proc/{each.process.pid}/ns/net").readlink() for each in pools}
        assert len(networks | {Path("/proc/self/ns/net").readlink()}) == 3
        for pool, root in zip(pools, roots, strict=True):
            inside = Path(f"/proc/{pool.process.pid}/root")
            assert inside.samefile(root)
            assert not Path(f"{inside}{ROOT}").exists()
            loaded = Path(f"/proc/{pool.process.pid}/maps").read_text()
            assert "/opt/dog-emotion/lib/" in loaded
            assert f"{ROOT}/.venv/" not in loaded


def test_workers_on_two_hosts_do_what_one_process_does(
    run: Command, roots: list[Path], home: Path, here: Path
) -> None:
    with hosts(roots, home) as (pools, arguments):
        done = run(*TINY, *arguments, "--workdir=hosts", cwd=home, **DIRECT)
        assert all(has_worked(pool) for pool in pools)
        peaks = [peak_mb(pool) for pool in pools]
    print(f"peak memory of the workers, MB: {peaks}")
    assert max(peaks) < MOST_MB
    assert done.returncode == 0, done.stderr
    there = home / "hosts"
    assert records(there) == records(here)
    assert sum(activations(here).values()) > 200
    assert activations(there) == activations(here)
    assert len(statistics(here)) == 3
    assert statistics(there) == statistics(here)
    assert figures(there) == figures(here)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # Beam's
def test_a_worker_that_is_killed_ends_the_run_and_the_next_one_loses_nothing(
    run: Command,
    dog_emotion: str,
    offline: Mapping[str, str],
    roots: list[Path],
    home: Path,
    here: Path,
) -> None:
    with hosts(roots, home) as (pools, arguments):
        process = subprocess.Popen(
            [dog_emotion, *TINY, *arguments, "--workdir=killed"],
            cwd=home,
            env={**offline, **DIRECT},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            while not (writing := list(filter(writes_activations, pools))):
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
                time.sleep(0.01)
            writing[0].process.kill()
            _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "failed in state FAILED" in errors
    assert f"(in full: {home}/killed/run.log)\n" in errors
    assert "RuntimeError: a worker is gone" in (home / "killed" / "run.log").read_text()
    assert not (home / "killed" / "serving").exists()

    with hosts(roots, home) as (_, arguments):
        done = run(*TINY, *arguments, "--workdir=killed", cwd=home, **DIRECT)
    assert done.returncode == 0, done.stderr
    assert activations(home / "killed") == activations(here)
    assert figures(home / "killed") == figures(here)
