"""Makes .venv-bench, the environment of the peers that are not part of .venv.

It needs a finished .venv, whose uv it uses. PyTorch's build without CUDA is not on PyPI: it comes
from the folder that PIP_FIND_LINKS names, or else from PyTorch's own index. A lock with hashes
makes sure that it is the same file.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-bench"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "benchmarks" / "requirements.txt"
UV = ROOT / ".venv" / "bin" / "uv"
STAMP = VENV / "setup-stamp"
PYTHON_VERSION = "3.11"
"""The lock holds the hash of one build of torch: for this Python on x86-64 Linux."""


def is_ready() -> bool:
    """Whether the environment is there and up to date."""
    return STAMP.is_file() and STAMP.read_text() == _wanted()


def _wanted() -> str:
    return hashlib.sha256(f"{ROOT}".encode() + LOCK.read_bytes()).hexdigest()


def main() -> None:
    """Makes the environment, finds it up to date, or says why there is none."""
    if is_ready():
        return
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return do_without("benchmarks/requirements.txt is for x86-64 Linux")
    print("bench: making .venv-bench with torch's build for CPUs", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    same = platform.python_version().startswith(f"{PYTHON_VERSION}.")
    python = sys.executable if same else PYTHON_VERSION
    if subprocess.run([UV, "venv", "--quiet", "--python", python, VENV]).returncode:
        return do_without(f"no Python {PYTHON_VERSION} is installed, and uv could not fetch one")
    reasons = []
    for source in torch_sources():
        sync = ["sync", "--quiet", "--require-hashes", "--python", str(PYTHON), *source, str(LOCK)]
        done = subprocess.run([str(UV), "pip", *sync], stderr=subprocess.PIPE, text=True)
        if done.returncode == 0:
            STAMP.write_text(_wanted())
            return
        reasons.append(f"{' '.join(source)}\n{done.stderr.strip()}")
    do_without(
        "benchmarks/requirements.txt cannot be installed; where PyTorch's index cannot be "
        "reached, put the wheel into a folder and name it in PIP_FIND_LINKS.\n" + "\n".join(reasons)
    )


def torch_sources() -> Iterator[list[str]]:
    """Arguments that tell uv where torch's CPU build may be, best first."""
    if folders := os.environ.get("PIP_FIND_LINKS"):
        yield [argument for folder in folders.split() for argument in ("--find-links", folder)]
    yield ["--torch-backend", "cpu"]  # PyTorch's index, for torch alone


def do_without(reason: str) -> None:
    """Says why there is no environment, and what follows from that."""
    print(f"bench: {reason}", file=sys.stderr)
    print("bench: the rows that need .venv-bench are left out", file=sys.stderr)


if __name__ == "__main__":
    main()
