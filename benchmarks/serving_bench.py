"""Measures the embedded server against the plain loop that it cannot beat.

The loop decodes the JSON and base64 of a request and calls the model, in one process and without
HTTP. The server answers the same requests over loopback, to 1, 8 and 32 clients that share the
machine with it. Both take turns. Prints latencies at each number of clients and, as the rows of
benchmarks/results.json, the server's throughput at 8 clients as a share of the loop's, the loop's
median latency as a share of the server's at 1 client, and the first request's without the model's
warm-up requests as a multiple of that with them.
"""

import argparse
import base64
import http.client
import importlib.metadata
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks.bench import RESULTS, machine
from benchmarks.results import of_pairs
from data.contract.model import MODEL_NAME, PHOTO_INPUT
from data.contract.servable import DEFAULT_SIGNATURE
from data.drawn_dogs import draw_photo
from data.photos import prepare_photo
from serving.asking.pushed import find_version, newest_model

DOG_EMOTION = Path(sys.executable).with_name("dog-emotion")
CLIENTS = (1, 8, 32)
REPEATS = 5
SECONDS = 10.0
"""Of each measurement; the first fifth is not counted."""


@dataclass(frozen=True)
class Measured:
    """Latencies in seconds of the requests answered in a time, and their number a second."""

    latencies: Sequence[float]
    throughput: float

    @property
    def p50(self) -> float:
        """The median latency in seconds."""
        return statistics.median(self.latencies)

    def __str__(self) -> str:
        p50, p95, p99 = np.quantile(self.latencies, [0.5, 0.95, 0.99]) * 1000
        return (
            f"{self.throughput:6.1f} requests/s   p50 {p50:6.1f} ms   p95 {p95:6.1f} ms   "
            f"p99 {p99:6.1f} ms"
        )


def request_body() -> bytes:
    """A photo as the client sends it."""
    jpeg = prepare_photo(draw_photo("happy", np.random.default_rng(0))).jpeg
    return json.dumps({"instances": [{"b64": base64.b64encode(jpeg).decode()}]}).encode()


def run_loop(version: Path, body: bytes, seconds: float) -> Measured:
    """The plain loop, in this process."""
    from serving.embedded.saved_model import SavedModel

    model = SavedModel(version, timeout_ms=60_000)

    def answer() -> None:
        (instance,) = json.loads(body)["instances"]
        photos = np.array([base64.b64decode(instance["b64"])], object)
        model.run(DEFAULT_SIGNATURE, {PHOTO_INPUT: photos})

    measured = _summarize(list(_times(answer, seconds)), seconds)
    model.close()
    return measured


def run_clients(port: int, body: bytes, clients: int, seconds: float) -> Measured:
    """Clients that each ask again as soon as they have an answer."""
    times: list[tuple[float, float]] = []

    def ask_again_and_again() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def ask() -> None:
            connection.request("POST", f"/v1/models/{MODEL_NAME}:predict", body)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                raise SystemExit(f"bench: status {response.status}: {answer!r}")

        times.extend(_times(ask, seconds))
        connection.close()

    threads = [threading.Thread(target=ask_again_and_again) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _summarize(times, seconds)


def _times(work: Callable[[], None], seconds: float) -> Iterator[tuple[float, float]]:
    """When each call ended, from the start, and how long it took."""
    start = time.perf_counter()
    while (before := time.perf_counter()) - start < seconds:
        work()
        after = time.perf_counter()
        yield after - start, after - before


def _summarize(times: Sequence[tuple[float, float]], seconds: float) -> Measured:
    counted = [took for end, took in times if seconds / 5 <= end <= seconds]
    return Measured(counted, len(counted) / (seconds * 4 / 5))


def first_request(version: Path, body: bytes) -> float:
    """Seconds of the first request after a server has become available."""
    with served(version) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        started = time.perf_counter()
        connection.request("POST", f"/v1/models/{MODEL_NAME}:predict", body)
        connection.getresponse().read()
        return time.perf_counter() - started


def without_warm_up(version: Path, folder: Path) -> Path:
    """A copy of a version that has no requests to warm up with."""
    copy = shutil.copytree(version, folder / "models" / version.name)
    shutil.rmtree(copy / "assets.extra")
    return copy


@contextmanager
def served(version: Path) -> Iterator[int]:
    """The embedded server as a process of its own; its port."""
    flags = ["--rest_api_port=0", f"--model_base_path={version.parent}"]
    with subprocess.Popen(
        [str(DOG_EMOTION), "serve", *flags], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline().strip(" \n/").rpartition(":")[2])
            while "AVAILABLE" not in (line := server.stdout.readline()):
                if not line:
                    raise SystemExit("bench: the server ended")
            yield port
        finally:
            server.terminate()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="(default: the newest pushed below runs/)")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    version = find_version(options.model) if options.model else newest_model(Path("runs"))
    body = request_body()
    if options.loop:
        measured = run_loop(version, body, options.seconds)
        print(json.dumps({"latencies": measured.latencies, "throughput": measured.throughput}))
        return
    print(f"model {version}; a request has {len(body):,} bytes")
    loops: list[Measured] = []
    cold: list[float] = []
    warm: list[float] = []
    answers: dict[int, list[Measured]] = {clients: [] for clients in CLIENTS}
    for repeat in range(options.repeats):
        # The loop in a process of its own, and while no server waits beside it.
        command = [sys.executable, "-m", "benchmarks.serving_bench", "--loop"]
        command += [f"--model={version}", f"--seconds={options.seconds}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        loops.append(Measured(**json.loads(done.stdout.splitlines()[-1])))
        print(f"\nrepeat {repeat}\n  loop         {loops[-1]}", flush=True)
        with served(version) as port:
            for clients in CLIENTS:
                answers[clients].append(run_clients(port, body, clients, options.seconds))
                print(f"  {clients:2} clients   {answers[clients][-1]}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            cold.append(first_request(without_warm_up(version, Path(folder)), body))
        warm.append(first_request(version, body))
        print(
            f"  first request   {cold[-1] * 1000:.0f} ms without warm-up, "
            f"{warm[-1] * 1000:.0f} ms with",
            flush=True,
        )
    rows = [
        of_pairs(
            "serve-throughput-8",
            [measured.throughput for measured in answers[8]],
            [measured.throughput for measured in loops],
            0.9,
        ),
        of_pairs(
            "serve-latency-1",
            [measured.p50 for measured in loops],
            [measured.p50 for measured in answers[1]],
            round(1 / 1.1, 3),
        ),
        of_pairs("serve-first-request", cold, warm),
    ]
    versions = {name: importlib.metadata.version(name) for name in ("uvicorn", "starlette")}
    results.merge(options.out, rows, machine(), versions)
    print()
    for row in rows:
        print(row.line)


if __name__ == "__main__":
    main()
