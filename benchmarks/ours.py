"""This project's own training as the bench measures it: with the product's command.

Of a run in a fresh folder the whole nodes ActivationCache and Trainer count, the export included.
A second run in the same folder, with another learning rate, takes the activations from the cache;
of it the node Trainer counts.
"""

import argparse
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.exports import is_right, newest_export
from benchmarks.processes import DOG_EMOTION
from benchmarks.results import write_json
from data.contract.errors import Exit

"""Exit status of a run whose model the gate did not let through; it has been trained even so."""


def run(photos: Path, workdir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """One run: its wall seconds and the seconds of each node that was not cached."""
    overrides = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    where = ["--photos", str(photos), "--workdir", str(workdir)]
    command = [str(DOG_EMOTION), "run", "--profile=photos", *where, *overrides]
    start = time.perf_counter()
    status = subprocess.run(command).returncode
    wall = time.perf_counter() - start
    if status not in (Exit.DONE, Exit.BLOCKED):
        raise SystemExit(f"dog-emotion run failed with status {status}: {workdir / 'run.log'}")
    nodes = json.loads((workdir / "metrics.json").read_text())["nodes"]
    seconds = {node["node"]: node["seconds"] for node in nodes if not node["cached"]}
    return {"wall": wall, "seconds": seconds}


def correct_answers(workdir: Path, test: Path) -> dict[str, Any]:
    """Which photos of `<class>/<file>` the exported model labels correctly."""
    files = sorted(test.glob("*/*.jpg"))
    right = is_right(
        newest_export(workdir),
        [file.read_bytes() for file in files],
        [file.parent.name for file in files],
    )
    return {
        "test_files": [file.name for file in files],
        "test_correct": right.astype(int).tolist(),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="class folders")
    parser.add_argument("--split", type=Path, required=True, help="the same, split for the peers")
    parser.add_argument("--workdir", type=Path, required=True, help="replaced")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 10))
    parser.add_argument("--out", type=Path, required=True, help="the figures, as JSON")
    options = parser.parse_args()
    shutil.rmtree(options.workdir, ignore_errors=True)  # left by a bench that was killed
    frozen, unfrozen = options.epochs
    settings = {
        "model.backbone": options.backbone,
        "model.weights": options.weights,
        "training.seed": options.seed,
        # The peers' work: so many epochs of each phase, in their batches.
        "training.batch_size": 32,
        "training.patience": max(options.epochs),
        "training.frozen.solver": "adam",
        "training.unfrozen.learning_rate": 0.0002,
        "training.frozen.epochs": frozen,
        "training.unfrozen.epochs": unfrozen,
    }
    print("settings", json.dumps({"script": "ours", "profile": "photos", **settings}), flush=True)
    cold = run(options.photos, options.workdir, settings)
    answers = correct_answers(options.workdir, options.split / "test")
    settings |= {"training.unfrozen.learning_rate": 0.0001}
    warm = run(options.photos, options.workdir, settings)
    if "ActivationCache" in warm["seconds"] or "Trainer" not in warm["seconds"]:
        raise SystemExit(f"the second run should train on cached activations: {warm['seconds']}")
    write_json(options.out, {"settings": settings, "cold": cold, "warm": warm, **answers})
    shutil.rmtree(options.workdir)


if __name__ == "__main__":
    main()
