"""A server that follows `models.config` answers whatever is done to it, and whoever is killed."""

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data.contract.errors import Exit
from data.contract.model import MODEL_NAME
from pipeline.cli import main
from pipeline.commands import production as commands
from pipeline.outputs import open_store
from pipeline.production.production import Production
from pipeline.workdir import Workdir
from serving.embedded.config_files import read_models
from tests.serving.conftest import Client, serving, wait_for
from tests.serving.embedded.models import warm_up_with, write_version
from tests.serving.embedded.test_server import process

ROOT = Path(__file__).parents[3]
STABLE = f"{MODEL_NAME}/labels/stable"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Workdir:
    """Versions 1 and 2 are models that can be served, 1 is stable; 3 is damaged."""
    found = Workdir(tmp_path_factory.mktemp("here") / "runs" / "photos")
    found.root.mkdir(parents=True)
    open_store(found.metadata)
    for version in (1, 2, 3):
        folder = found.serving / str(version)
        write_version(folder, float(version))
        warm_up_with(folder, "", 1.0)
    (found.serving / "3" / "saved_model.pb").write_bytes(b"damaged")
    assert main(["promote", "1", "--workdir", str(found.root)]) == Exit.DONE
    return found


@contextmanager
def followed(workdir: Workdir) -> Iterator[tuple[Client, Counter[tuple[int, str]]]]:
    """A server that follows the file, and what it answers to those who never stop asking."""
    file = Production(workdir).file
    answers: Counter[tuple[int, str]] = Counter()
    done = threading.Event()
    with serving(
        *read_models(file),
        model_config_file=file,
        model_config_file_poll_wait_seconds=0.05,
        canary_share=0,
    ) as client:
        wait_for(lambda: client.predict(STABLE, {"instances": [1]}).status == 200)

        def ask(target: str) -> None:
            while not done.is_set():
                reply = client.predict(target, {"instances": [1]})
                answers[reply.status, reply.body.decode()] += 1

        threads = [threading.Thread(target=ask, args=[each]) for each in (STABLE, MODEL_NAME)]
        for thread in threads:
            thread.start()
        try:
            yield client, answers
        finally:
            done.set()
            for thread in threads:
                thread.join()


def stable_on(client: Client) -> list[str]:
    reply = client.ask("GET", f"/v1/models/{STABLE}")
    return [each["version"] for each in reply.json["model_version_status"]]


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What commands complain of; with capsys, absl would close pytest's own standard error as soon
    as uvicorn sets up its logging."""
    found: list[str] = []
    monkeypatch.setattr("pipeline.cli.complain", lambda message: found.append(str(message)))
    return found


def test_a_promotion_and_its_rollback_lose_no_request(
    workdir: Workdir, complaints: list[str]
) -> None:
    with followed(workdir) as (client, answers):
        where = ["--workdir", str(workdir.root), "--url", client.url]
        assert main(["canary", "2", *where]) == Exit.DONE
        assert client.predict(f"{MODEL_NAME}/labels/canary", {"instances": [1]}).status == 200
        assert main(["promote", *where]) == Exit.DONE
        assert stable_on(client) == ["2"]
        assert main(["rollback", *where]) == Exit.DONE
        assert stable_on(client) == ["1"]
        assert main(["promote", "3", *where]) == Exit.FAILED
        assert complaints == ["version 3 could not be served: the labels are as before"]
        assert stable_on(client) == ["1"]
    assert {status for status, _ in answers} == {200}
    assert len(answers) == 2


def test_a_version_that_the_server_cannot_load_leaves_all_as_before(
    workdir: Workdir, monkeypatch: pytest.MonkeyPatch, complaints: list[str]
) -> None:
    monkeypatch.setattr(commands, "print_check", lambda version: True)
    monkeypatch.setattr(commands, "_require_no_break", lambda *arguments: None)
    with followed(workdir) as (client, answers):
        where = ["--workdir", str(workdir.root), "--url", client.url]
        assert main(["promote", "3", *where]) == Exit.FAILED
        (line,) = complaints
        assert "cannot load version 3: " in line
        assert Production(workdir).labels == {"stable": 1}
        assert stable_on(client) == ["1"]
    assert {status for status, _ in answers} == {200}


def test_the_server_answers_though_commands_are_killed_again_and_again(workdir: Workdir) -> None:
    program = (
        "import itertools, sys\n"
        "from pipeline.cli import main\n"
        "from pipeline.commands import production\n"
        "production.print_check = lambda version: True\n"
        "production._require_no_break = lambda *arguments: None\n"
        "print('ready', flush=True)\n"
        "for version in itertools.cycle('21'):\n"
        "    main(['promote', version, *sys.argv[1:]])\n"
    )
    chance = random.Random(0)
    with followed(workdir) as (client, answers):
        where = ["--workdir", str(workdir.root), "--url", client.url]
        for _ in range(4):
            command = [sys.executable, "-c", program, *where]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as promoting:
                assert promoting.stdout is not None
                promoting.stdout.readline()
                time.sleep(chance.uniform(0.1, 1.5))
                promoting.send_signal(signal.SIGKILL)
            assert Production(workdir).labels in ({"stable": 1}, {"stable": 2})
        before = dict(Production(workdir).labels or {})
        assert main(["promote", str(3 - before["stable"]), *where]) == Exit.DONE
        assert stable_on(client) == [str(3 - before["stable"])]
    assert {status for status, _ in answers} == {200}
    history = Production(workdir).history()
    for earlier, later in itertools.pairwise(history):
        assert earlier.after == later.before


def test_serve_finds_what_is_stable_and_follows_it(workdir: Workdir) -> None:
    stable = (Production(workdir).labels or {})["stable"]
    other = 3 - stable
    with process(cwd=workdir.root.parents[1]) as (_, client):
        wait_for(lambda: client.predict(MODEL_NAME, {"instances": [1]}).status == 200)
        assert stable_on(client) == [str(stable)]
        where = ["--workdir", str(workdir.root), "--url", client.url]
        assert main(["canary", str(other), *where]) == Exit.DONE
        answers = [
            client.predict(f"{MODEL_NAME}{target}", {"instances": [1]}).json
            for target in ("", "/labels/stable", "/labels/canary")
        ]
        assert answers[0] == answers[1] != answers[2]
