"""Training on several replicas, in processes of their own, against training in this one."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest

from tests.components.training.one_machine import Trained, free_address, train

ROOT = Path(__file__).parents[3]

LONGEST = 600
"""Seconds until a process that says nothing is killed."""

Process = subprocess.Popen[str]


@contextmanager
def started(activations: Any, folder: Path, *devices: str, **variables: str) -> Iterator[Process]:
    """A machine that trains, and is gone after the block."""
    module = "tests.components.training.one_machine"
    folder.mkdir()
    with (
        (folder / "errors").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", module, activations.uri, str(folder), *devices],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def kept(folder: Path, name: str) -> Trained:
    trained: Trained = pickle.loads((folder / f"{name}.pickle").read_bytes())
    return trained


def assert_alike(found: Trained, expected: Trained, *, within: float) -> None:
    for phase, same in zip(found[0], expected[0], strict=True):
        assert (phase.name, phase.kept) == (same.name, same.kept)
        for epoch, other in zip(phase.history, same.history, strict=True):
            assert epoch == pytest.approx(other, abs=within)
    for weight, other_weight in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(weight, other_weight, atol=within)


@pytest.fixture(scope="module")
def cluster(
    activations: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[Path, Process]]]:
    """A chief and a worker, as Vertex AI starts them, each with its folder."""
    addresses = {"chief": [free_address()], "worker": [free_address()]}
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        found = []
        for kind in addresses:
            config = {"cluster": addresses, "task": {"type": kind, "index": 0}}
            machine = started(activations, folder / kind, TF_CONFIG=json.dumps(config))
            found.append((folder / kind, stack.enter_context(machine)))
        yield found


def wait_for(process: Process, line: str) -> None:
    assert process.stdout
    killer = Timer(LONGEST, process.kill)
    killer.start()
    try:
        if not any(said.startswith(line) for said in process.stdout):
            raise AssertionError(f"it ended with {process.wait()} and without saying {line!r}")
    finally:
        killer.cancel()


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[np.ndarray]]:
    """The weights of small models, by how they were trained."""
    file = tmp_path_factory.mktemp("devices") / "weights"
    module = "tests.components.training.two_devices"
    command = [sys.executable, "-m", module, str(file)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=LONGEST)
    weights: dict[str, list[np.ndarray]] = pickle.loads(file.read_bytes())
    return weights


def test_all_devices_skip_a_batch_whose_gradients_overflow_on_one_of_them(
    on_two_devices: dict[str, list[np.ndarray]],
) -> None:
    expected = on_two_devices["harmless"]
    for weight, same in zip(on_two_devices["overflowing first"], expected, strict=True):
        # The scale of the loss is half as large in one of the two.
        np.testing.assert_allclose(weight, same, rtol=1e-3)


def test_each_device_drops_other_inputs(on_two_devices: dict[str, list[np.ndarray]]) -> None:
    kernel, _ = on_two_devices["dropout"]
    dropped_on_one = np.any(kernel != 0, axis=1)
    assert 0.4 < dropped_on_one.mean() < 0.6


@pytest.mark.slow
def test_gpus_train_as_one_device_does_to_rounding_of_their_precision(
    activations: Any, tmp_path: Path
) -> None:
    with started(activations, tmp_path / "gpus", "gpus") as process:
        said, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, (tmp_path / "gpus" / "errors").read_text()
    assert "  on 2 GPUs\n" in said
    expected = train(activations.uri, tmp_path / "here", solver="adam")
    assert_alike(kept(tmp_path / "gpus", "old"), expected, within=1e-5)
    for half in ("new", "single"):
        # float16 rounds by up to 2**-11 = 5e-4 of each number.
        assert_alike(kept(tmp_path / "gpus", half), expected, within=2e-2)
        with pytest.raises(AssertionError):
            assert_alike(kept(tmp_path / "gpus", half), expected, within=1e-5)


def test_two_machines_train_as_one_does_to_rounding(
    cluster: list[tuple[Path, Process]], activations: Any, tmp_path: Path
) -> None:
    expected = train(activations.uri, tmp_path, solver="lbfgs")
    for folder, process in cluster:
        wait_for(process, "trained")
        assert_alike(kept(folder, "together"), expected, within=1e-5)


@pytest.mark.slow
def test_a_machine_that_is_killed_ends_the_others_with_an_error_that_names_it(
    cluster: list[tuple[Path, Process]],
) -> None:
    (folder, chief), (_, worker) = cluster
    wait_for(chief, "Epoch 3/")
    worker.send_signal(signal.SIGKILL)
    chief.communicate(timeout=120)
    assert chief.returncode == 1
    last = (folder / "errors").read_text().splitlines()[-1]
    assert last.startswith("components.errors.ComponentError: 127.0.0.1:")
    assert "has lost 127.0.0.1:" in last
