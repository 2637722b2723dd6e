"""The embedded server as a process, and its models while their files change."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from serving.embedded.config_files import ModelConfig
from serving.embedded.saved_model import SavedModel
from serving.embedded.server import Watcher
from serving.embedded.versions import Model
from tests.serving.conftest import Client, serving, wait_for
from tests.serving.embedded.models import NAME, warm_up_with, write_version

DOG_EMOTION = Path(sys.executable).with_name("dog-emotion")


def publish(source: Path, base: Path, version: int) -> None:
    """Puts a version in place as our Pusher does: in one step."""
    unfinished = base.with_name("unfinished")
    shutil.copytree(source, unfinished)
    unfinished.rename(base / str(version))


@contextmanager
def process(*arguments: object, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """`dog-emotion serve` on a free port."""
    command = [str(DOG_EMOTION), "serve", "--rest_api_port=0", *map(str, arguments)]
    # A child inherits that its parent ignores an interruption, as in a background job.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True) as server:
        signal.signal(signal.SIGINT, ours)
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("serving   http://127.0.0.1:"), line
        try:
            yield server, Client(line.split()[1])
        finally:
            server.kill()


def is_available(client: Client, version: int) -> bool:
    return client.states(NAME).get(version) == "AVAILABLE"


def test_requests_in_flight_are_answered_before_the_end(
    conformance_models: Path, tmp_path: Path
) -> None:
    flags = (f"--model_name={NAME}", f"--model_base_path={conformance_models}")
    with process(*flags, cwd=tmp_path) as (server, client):
        wait_for(lambda: client.states(NAME) == {2: "AVAILABLE"})
        statuses: list[int] = []

        def ask_until_refused() -> None:
            try:
                while True:
                    statuses.append(client.predict(NAME, {"instances": [1] * 10_000}).status)
            except ConnectionError:
                pass

        thread = threading.Thread(target=ask_until_refused)
        thread.start()
        wait_for(lambda: len(statuses) > 2)
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 130
        thread.join()
        assert set(statuses) == {200}


def test_batching_answers_the_same(conformance_models: Path, tmp_path: Path) -> None:
    parameters = tmp_path / "batching.txt"
    parameters.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 500 }")
    flags = (
        f"--model_name={NAME}",
        f"--model_base_path={conformance_models}",
        "--enable_batching",
        f"--batching_parameters_file={parameters}",
    )
    with process(*flags, cwd=tmp_path) as (_, client):
        wait_for(lambda: client.states(NAME) == {2: "AVAILABLE"})
        replies: dict[int, object] = {}

        def ask(x: int) -> None:
            replies[x] = client.predict(NAME, {"instances": [x, "bad" if x % 5 == 0 else x]}).json

        threads = [threading.Thread(target=ask, args=[x]) for x in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for x, reply in replies.items():
            if x % 5 == 0:
                assert isinstance(reply, dict)
                assert "Failed to process element: 1" in reply["error"]
            else:
                assert reply == {"predictions": [x / 4 + 2] * 2}


def test_versions_are_looked_after_though_nobody_hears_of_them(
    conformance_models: Path, tmp_path: Path
) -> None:
    base = tmp_path / "models"
    base.mkdir()
    with process(f"--model_name={NAME}", f"--model_base_path={base}", cwd=tmp_path) as (
        server,
        client,
    ):
        assert server.stdout is not None
        server.stdout.close()
        for version in (1, 2):
            publish(conformance_models / str(version), base, version)
            wait_for(partial(is_available, client, version))


def test_it_serves_without_tfx(conformance_models: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import serving.embedded.server\n"
        "assert not {'tfx', 'tensorflow_transform', 'tensorflow_model_analysis', 'apache_beam', "
        "'components', 'pipeline'} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=300)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model_base_path=nowhere"], "is not a folder: name a model's base path"),
        (["--rest_api_port=65536"], "65536 should be from 0 to 65535"),
        (["--rest_api_port=web"], "'web' is not an integer"),
        (["--batching_parameters_file=x"], "needs --enable_batching"),
        (["--model_config_file=x"], "x cannot be read: No such file or directory"),
        (["--model_config_file=x", "--model_base_path=y"], "leave out --model_base_path"),
        ([], "no model was pushed below runs"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [DOG_EMOTION, "serve", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(conformance_models: Path, tmp_path: Path) -> None:
    flag = f"--model_base_path={conformance_models}"
    with process(flag, cwd=tmp_path) as (_, client):
        port = client.url.rstrip("/").rpartition(":")[2]
        done = subprocess.run(
            [DOG_EMOTION, "serve", flag, f"--rest_api_port={port}"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr


@pytest.mark.parametrize(
    ("damaged", "content"),
    [
        ("saved_model.pb", b"damaged"),
        ("saved_model.pb", b""),
        ("variables/variables.index", b"damaged"),
        ("variables/variables.data-00000-of-00001", b""),
    ],
)
def test_a_corrupt_version_never_serves(
    conformance_models: Path, tmp_path: Path, damaged: str, content: bytes
) -> None:
    base = tmp_path / "models"
    base.mkdir()
    publish(conformance_models / "1", base, 1)
    corrupt = shutil.copytree(conformance_models / "2", tmp_path / "2")
    (corrupt / damaged).write_bytes(content)
    with serving(ModelConfig(NAME, base)) as client:
        wait_for(lambda: client.states(NAME) == {1: "AVAILABLE"})
        publish(corrupt, base, 2)
        wait_for(lambda: client.states(NAME) == {2: "END", 1: "AVAILABLE"})
        assert client.predict(NAME, {"instances": [1]}).json == {"predictions": [2.5]}
        status = client.ask("GET", f"/v1/models/{NAME}/versions/2").json["model_version_status"][0]
        assert status["status"]["error_code"] != "OK"
        assert status["status"]["error_message"]


def test_a_version_is_warm_before_it_is_available(conformance_models: Path, tmp_path: Path) -> None:
    base = tmp_path / "models"
    base.mkdir()
    warm = shutil.copytree(conformance_models / "1", tmp_path / "warm")
    warm_up_with(warm, "", 1.0)
    cold = shutil.copytree(conformance_models / "2", tmp_path / "cold")
    warm_up_with(cold, "pairs_only", 1.0)  # a reshape that fails
    with serving(ModelConfig(NAME, base)) as client:
        publish(warm, base, 1)
        wait_for(lambda: client.states(NAME) == {1: "AVAILABLE"})
        publish(cold, base, 2)
        wait_for(lambda: client.states(NAME) == {2: "END", 1: "AVAILABLE"})
        status = client.ask("GET", f"/v1/models/{NAME}/versions/2").json["model_version_status"][0]
        assert status["status"]["error_code"] == "INVALID_ARGUMENT"
        assert re.search("[Rr]eshape", status["status"]["error_message"])


def test_a_swap_under_load_loses_no_request(conformance_models: Path, tmp_path: Path) -> None:
    base = tmp_path / "models"
    base.mkdir()
    publish(conformance_models / "1", base, 1)
    done = threading.Event()
    replies: list[tuple[int, object]] = []
    with serving(ModelConfig(NAME, base)) as client:
        wait_for(lambda: client.states(NAME) == {1: "AVAILABLE"})

        def ask() -> None:
            while not done.is_set():
                reply = client.predict(NAME, {"instances": [1]})
                replies.append((reply.status, reply.json.get("predictions")))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in (2, 3, 4):
            publish(conformance_models / str(1 + version % 2), base, version)
            wait_for(partial(is_available, client, version))
        wait_for(lambda: [*client.states(NAME).values()].count("END") == 3)
        done.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in replies} == {200}
    assert {str(answer) for _, answer in replies} == {"[2.5]", "[2.25]"}


@pytest.mark.slow
def test_memory_is_flat_over_twenty_swaps(tmp_path: Path) -> None:
    base = tmp_path / "models"
    base.mkdir()
    source = tmp_path / "source"
    write_version(source, 2.0)
    with process(f"--model_name={NAME}", f"--model_base_path={base}", cwd=tmp_path) as (
        server,
        client,
    ):
        memory = []
        for version in range(1, 31):
            publish(source, base, version)
            wait_for(partial(is_available, client, version))
            assert client.predict(NAME, {"instances": [1]}).status == 200
            memory.append(_resident_mib(server.pid))
            shutil.rmtree(base / str(version - 1), ignore_errors=True)
            time.sleep(0.2)
    assert np.median(memory[-5:]) - np.median(memory[5:10]) < 40, memory


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_model_without_versions_is_reported_once_and_its_first_version_later(
    conformance_models: Path, tmp_path: Path
) -> None:
    base = tmp_path / "models"
    base.mkdir()
    lines: list[str] = []
    model = Model(NAME, base, lambda path: SavedModel(path, 1000))
    watcher = Watcher({NAME: model}, 0.02, lines.append)
    watcher.start()
    wait_for(lambda: lines)
    assert lines == [f"model     {NAME} has no version in {base} yet"]
    publish(conformance_models / "1", base, 1)
    wait_for(lambda: len(lines) > 1)
    watcher.stop()
    assert lines[1] == f"model     {NAME} 1 AVAILABLE"
