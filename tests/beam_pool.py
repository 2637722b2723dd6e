"""A pool of Beam's workers, as the image starts it."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Pool(NamedTuple):
    process: subprocess.Popen[str]
    address: str


@contextmanager
def worker_pool(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Pool]:
    """Starts a pool with a working folder of its own, and ends it by force."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pipeline.cluster.beam_worker_pool", "--port=0"]
    with (folder / "errors").open("a") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    with process:
        try:
            assert process.stdout
            yield Pool(process, process.stdout.readline().split()[-1])
        finally:
            process.kill()
