"""Measures this project against its peers in one interleaved run, and prints the ratios.

Every measurement is a process of its own with all cores, on the same photos and split. Peers run
one whole epoch of each phase, validation included, which is scaled up to all epochs; ours runs
them all. Besides, each peer has one full run, and the Keras script one for every seed: these
are for the accuracy. What is finished is kept in the state folder, and a bench that was killed
goes on from there; measurements of other code are not used.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import install, results
from benchmarks.accuracy import difference
from benchmarks.results import Ratio, extrapolate, of_pairs, of_repeats
from data.drawn_dogs import draw_dataset

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
STATE = ROOT / "runs" / "bench"
ROOMS = ("benchmarks", "components", "data", "pipeline", "serving")
WEIGHTS = {"efficientnet_b0": "random", "efficientnet_lite0": "imagenet", "tiny": "random"}


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    b0: str | None = "efficientnet_b0"
    lite0: str = "efficientnet_lite0"
    """The backbones of the rows; a trial run takes another."""
    repeats: int = 3
    """The seeds of the repeats, ours and the Keras script's, are 0, 1, 2 and so on."""
    frozen: int = 10
    unfrozen: int = 10

    @property
    def epochs(self) -> dict[str, int]:
        """The epochs of the seed recipe."""
        return {"frozen": self.frozen, "unfrozen": self.unfrozen}

    @property
    def fastai_epochs(self) -> dict[str, int]:
        """The same number in all, one of them frozen."""
        return {"frozen": 1, "unfrozen": self.frozen + self.unfrozen - 1}


SMOKE_PHOTOS = 30
"""The drawn photos of each class."""
SMOKE = Plan(b0=None, lite0="tiny", repeats=1, frozen=1, unfrozen=1)


class Bench:
    """Runs measurements, or finds them in the state folder."""

    def __init__(self, plan: Plan, photos: Path, state: Path) -> None:
        self.plan, self.photos, self.state = plan, photos, state
        self.repeats = state / f"code-{_code_hash()}"
        self.split = state / "split"
        self.versions: dict[str, str] = {}
        self.has_peers = install.is_ready()
        """Whether there is an environment for those that .venv cannot hold."""

    def prepare(self) -> None:
        """Makes the folder and the split; an earlier bench there must have had the same photos."""
        self.state.mkdir(parents=True, exist_ok=True)
        marker = self.state / "photos.txt"
        if marker.exists() and marker.read_text() != str(self.photos):
            raise SystemExit(
                f"bench: {self.state} belongs to {marker.read_text()}; delete it to start over"
            )
        arguments = [self.photos, self.state / "data", self.split]
        self._run_module(sys.executable, "split", arguments)
        marker.write_text(str(self.photos))

    def keras(self, name: str, backbone: str, seed: int, *, full: bool) -> dict[str, Any]:
        """The plain Keras script."""
        arguments = ["--photos", self.split, "--backbone", backbone, "--seed", seed]
        return self._peer(name, sys.executable, "keras_script", arguments, self.plan.epochs, full)

    def torch(self, name: str, schedule: str, seed: int, *, full: bool) -> dict[str, Any]:
        """The PyTorch script."""
        arguments = ["--photos", self.split, "--schedule", schedule, "--seed", seed]
        arguments += ["--weights", _torch_weights()]
        epochs = self.plan.epochs if schedule == "seed" else self.plan.fastai_epochs
        return self._peer(name, install.PYTHON, "torch_script", arguments, epochs, full)

    def ours(self, name: str, backbone: str, seed: int) -> dict[str, Any]:
        """The product."""
        workdir = self.state / "workdir"
        arguments = ["--photos", self.photos, "--split", self.split, "--workdir", workdir]
        arguments += ["--backbone", backbone, "--weights", WEIGHTS[backbone], "--seed", seed]
        arguments += ["--epochs", *self.plan.epochs.values()]
        return self._run(self.repeats / f"{name}.json", sys.executable, "ours", arguments)

    def trunk(self, name: str, python: str | Path, script: str) -> dict[str, Any]:
        """A forward pass of the trunk."""
        arguments = ["--photos", self.split / "val"]
        if script == "onnx_trunk":
            arguments += ["--weights", _torch_weights()]
        return self._run(self.repeats / f"{name}.json", python, script, arguments)

    def _peer(
        self,
        name: str,
        python: str | Path,
        script: str,
        arguments: list[Any],
        epochs: dict[str, int],
        full: bool,
    ) -> dict[str, Any]:
        """A full run, or one epoch of each phase and `seconds` for all."""
        if full:
            arguments = [*arguments, "--epochs", *epochs.values()]
            file = self.state / "full" / f"{name}.json"
            finished = self._run(file, python, script, arguments)
            seconds = sum(epoch["seconds"] for e in finished["phases"].values() for epoch in e)
            print(
                f"  {name}: {seconds:.0f} s in full, test accuracy {finished['test_accuracy']:.3f}",
                flush=True,
            )
            return finished
        file = self.repeats / f"{name}.json"
        measured = self._run(file, python, script, [*arguments, "--measure"])
        seconds = extrapolate(measured["epoch_seconds"], epochs)
        parts = " + ".join(
            f"{count} x {measured['epoch_seconds'][phase]:.1f} s" for phase, count in epochs.items()
        )
        print(f"  {name}: {parts} = {seconds:.0f} s, multiplied from one epoch each", flush=True)
        return {**measured, "seconds": seconds}

    def _run(
        self, file: Path, python: str | Path, script: str, arguments: list[Any]
    ) -> dict[str, Any]:
        print(f"\n{file.relative_to(self.state).with_suffix('')}", flush=True)
        if file.exists():
            print("  kept from before", flush=True)
        else:
            self._run_module(python, script, [*arguments, "--out", file])
        finished: dict[str, Any] = json.loads(file.read_text())
        self.versions |= finished["settings"].get("versions", {})
        return finished

    def _run_module(self, python: str | Path, module: str, arguments: list[Any]) -> None:
        """Runs a module as a process of its own; its errors and chatter go to a file."""
        command = [str(part) for part in (python, "-m", f"benchmarks.{module}", *arguments)]
        errors = self.state / "stderr.log"
        with errors.open("w") as stream:
            done = subprocess.run(command, cwd=ROOT, stderr=stream)
        if done.returncode:
            last_lines = "\n".join(errors.read_text().splitlines()[-20:])
            raise SystemExit(f"{last_lines}\nbench: {module} failed, status {done.returncode}")


def measure_speed(bench: Bench) -> list[Ratio]:
    """Measures seconds, in each repeat one after the other; returns the rows."""
    plan = bench.plan
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    shares: list[float] = []

    for repeat in range(plan.repeats):
        if plan.b0:
            keras = bench.keras(f"keras-b0-{repeat}", plan.b0, repeat, full=False)
            seconds["keras-b0"].append(keras["seconds"])
            run = bench.ours(f"ours-b0-{repeat}", plan.b0, repeat)
            seconds["ours-b0"].append(_trained(run["cold"]))
        keras = bench.keras(f"keras-lite0-{repeat}", plan.lite0, repeat, full=False)
        seconds["keras"].append(keras["seconds"])
        run = bench.ours(f"ours-lite0-{repeat}", plan.lite0, repeat)
        seconds["ours"].append(_trained(run["cold"]))
        seconds["warm"].append(run["warm"]["seconds"]["Trainer"])
        shares.append(_trained(run["cold"]) / run["cold"]["wall"])
        if not bench.has_peers:
            continue
        for schedule in ("seed", "fastai"):
            torch = bench.torch(f"torch-{schedule}-{repeat}", schedule, repeat, full=False)
            seconds[schedule].append(torch["seconds"])
        for name, python in (("onnx", install.PYTHON), ("extractor", sys.executable)):
            trunk = bench.trunk(f"{name}-{repeat}", python, f"{name}_trunk")
            seconds[name].append(trunk["seconds"])

    rows = [
        of_pairs("keras-lite0", seconds["keras"], seconds["ours"], 6),
        of_pairs("keras-lite0-warm", seconds["keras"], seconds["warm"], 20),
        of_repeats("training-share", shares, 0.8),
    ]
    if bench.has_peers:
        rows += [
            of_pairs("torch-lite0", seconds["seed"], seconds["ours"], 3),
            of_pairs("fastai-lite0", seconds["fastai"], seconds["ours"]),
            of_pairs("onnxruntime-trunk", seconds["onnx"], seconds["extractor"]),
        ]
    if plan.b0:
        rows.insert(0, of_pairs("keras-b0", seconds["keras-b0"], seconds["ours-b0"], 8))
    return rows


def measure_accuracy(bench: Bench) -> Ratio:
    """Runs the peers in full; returns the row of our accuracy, already measured, and the Keras
    script's."""
    plan = bench.plan
    ours = [bench.ours(f"ours-lite0-{seed}", plan.lite0, seed) for seed in range(plan.repeats)]
    keras_runs = [
        bench.keras(f"keras-lite0-seed{seed}", plan.lite0, seed, full=True)
        for seed in range(plan.repeats)
    ]
    if any(run["test_files"] != ours[0]["test_files"] for run in (*ours, *keras_runs)):
        raise SystemExit(f"bench: the test photos differ; delete {bench.state} to start over")
    if plan.b0:
        bench.keras("keras-b0", plan.b0, 0, full=True)
    for schedule in ("seed", "fastai") if bench.has_peers else ():
        bench.torch(f"torch-{schedule}", schedule, 0, full=True)
    return difference("accuracy-lite0", _correct(ours), _correct(keras_runs), -0.01)


def _torch_weights() -> Path:
    """Lite0's weights, which the peers' environment does not hold."""
    from components.model.backbones.efficientnet_lite0 import LITE  # imports TensorFlow

    return LITE.weights_file()


def _trained(run: dict[str, Any]) -> float:
    """What ours counts: the whole nodes, with the export and the figures on the test photos."""
    return float(run["seconds"]["ActivationCache"] + run["seconds"]["Trainer"])


def _correct(runs: list[dict[str, Any]]) -> list[list[int]]:
    return [run["test_correct"] for run in runs]


def _code_hash() -> str:
    """The versions of all that a measurement may depend on."""
    digest = hashlib.sha256()
    for file in sorted(file for room in ROOMS for file in (ROOT / room).rglob("*")):
        if file.suffix in (".py", ".toml", ".pbtxt", ".txt"):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def machine() -> str:
    """The processor, and how many of its cores are used."""
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = match[1] if match else platform.machine()
    return f"{len(os.sched_getaffinity(0))} cores, {name}, {platform.system()}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--photos", type=Path, help="class folders")
    what.add_argument("--smoke", action="store_true", help="a trial on a few drawn photos")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan, photos, state, file = Plan(), options.photos, STATE, RESULTS
        if options.smoke:
            plan, state = SMOKE, Path(folder)
            photos, file = state / "photos", state / "results.json"
            draw_dataset(photos, per_class=SMOKE_PHOTOS, seed=0)
        bench = Bench(plan, photos.resolve(), state)
        bench.prepare()
        rows = measure_speed(bench)
        results.merge(file, rows, machine(), bench.versions)  # hours before what follows
        rows.append(measure_accuracy(bench))
        results.merge(file, rows, machine(), bench.versions)
        print()
        for row in rows:
            print(row.line)


if __name__ == "__main__":
    main()
