"""Feedback on answers: what lands in the folder, what is refused, and what a kill leaves."""

import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.contract.feedback import Feedback
from data.drawn_dogs import draw_photo
from data.feedback import read_feedback
from serving.embedded.config_files import ModelConfig
from serving.embedded.errors import ServerConfigError
from serving.embedded.versions import Policy
from serving.observing import feedback as feedback_module
from serving.observing.feedback import ENDPOINT, FeedbackDesk
from serving.observing.feedback_folder import FeedbackFolder, FullError
from tests.disks import small_disk
from tests.serving.asking.photo_model import LABELS, write_explaining_model
from tests.serving.conftest import Client, Reply, serving, wait_for

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("models")
    write_explaining_model(base / "7")
    return base


@pytest.fixture(scope="module")
def the_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture
def folder(the_folder: Path) -> Path:
    """Where feedback lands; empty."""
    for file in the_folder.iterdir():
        file.unlink()
    return the_folder


@pytest.fixture(scope="module")
def client(base: Path, the_folder: Path) -> Iterator[Client]:
    desk = FeedbackDesk(FeedbackFolder(the_folder, most_photos=3, most_bytes=10**6))
    with serving(ModelConfig("dogs", base), observers=[desk], endpoints={ENDPOINT: desk}) as client:
        wait_for(lambda: client.states("dogs") == {7: "AVAILABLE"})
        yield client


def draw(seed: int) -> bytes:
    return draw_photo("happy", np.random.default_rng(seed))


def encode(photo: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(photo).decode()}


def ask(client: Client, photo: bytes, which: str = "") -> dict[str, Any]:
    body = json.dumps({"instances": [encode(photo)]}).encode()
    reply = client.ask("POST", f"/v1/models/dogs{which}:predict", body)
    assert reply.status == 200
    answer: dict[str, Any] = reply.json["predictions"][0]
    return answer


def say(
    client: Client,
    photo: bytes,
    correction: str,
    answer: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Feedback on an answer, or else on one that is asked for."""
    body = {
        "model": "dogs",
        "photo": encode(photo),
        "probabilities": (answer or ask(client, photo))["probabilities"],
        "correction": correction,
    }
    return client.ask("POST", "/feedback", json.dumps(body).encode(), {**JSON, **(headers or {})})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_correction_lands_with_the_photo_and_the_answer_it_is_about(
    client: Client, folder: Path
) -> None:
    photo = draw(1)
    answer = ask(client, photo)
    assert say(client, photo, "sad", answer).json == {"kept": "sad"}
    sha256 = hashlib.sha256(photo).hexdigest()
    assert names(folder) == [f"{sha256}.jpg", f"{sha256}.json"]
    assert (folder / f"{sha256}.jpg").read_bytes() == photo
    ((kept,), remarks) = read_feedback(folder)
    assert not remarks
    assert (kept.model, kept.version, kept.correction) == ("dogs", "7", "sad")
    assert (kept.label, kept.certain) == (answer["label"], answer["certain"])
    assert list(kept.probabilities) == list(LABELS)
    assert list(kept.probabilities.values()) == pytest.approx(answer["probabilities"])
    assert kept.dog == pytest.approx(answer["dog"])


def test_the_last_word_about_a_photo_counts(client: Client, folder: Path) -> None:
    photo = draw(1)
    assert say(client, photo, "sad").status == say(client, photo, "angry").status == 200
    ((kept,), _) = read_feedback(folder)
    assert kept.correction == "angry"


def test_a_photo_that_no_model_was_asked_about_is_not_taken(client: Client, folder: Path) -> None:
    nobodys = {"probabilities": [0.25] * len(LABELS)}
    reply = say(client, draw(20), "sad", nobodys)
    assert reply.status == 409
    assert "no longer remembered" in reply.json["error"]
    bomb = b"\xff\xd8\xff" + bytes(1000)
    assert client.predict("dogs", {"instances": [encode(bomb)]}).status == 400
    assert say(client, bomb, "sad", nobodys).status == 409
    assert names(folder) == []


def test_the_photos_remembered_are_bounded(
    base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_module, "REMEMBERED", 2)
    desk = FeedbackDesk(FeedbackFolder(folder, 9, 10**6))
    with serving(ModelConfig("dogs", base), observers=[desk], endpoints={ENDPOINT: desk}) as client:
        wait_for(lambda: client.states("dogs") == {7: "AVAILABLE"})
        given = {seed: ask(client, draw(seed)) for seed in (1, 2, 3)}
        statuses = [say(client, draw(seed), "sad", given[seed]).status for seed in given]
        assert statuses == [409, 200, 200]


def test_of_two_versions_answers_to_one_photo_the_one_that_was_seen_is_kept(
    tmp_path: Path, folder: Path
) -> None:
    for version, seed in (("7", 1), ("8", 3)):
        write_explaining_model(tmp_path / version, seed)
    desk = FeedbackDesk(FeedbackFolder(folder, 9, 10**6))
    both = ModelConfig("dogs", tmp_path, Policy(latest=None))
    with serving(both, observers=[desk], endpoints={ENDPOINT: desk}) as client:
        wait_for(lambda: client.states("dogs") == {7: "AVAILABLE", 8: "AVAILABLE"})
        photo = draw(1)
        stable, canary = (ask(client, photo, f"/versions/{version}") for version in (7, 8))
        assert stable["probabilities"] != canary["probabilities"]
        for answer, version in ((stable, "7"), (canary, "8"), (stable, "7")):
            assert say(client, photo, "sad", answer).status == 200
            ((kept,), _) = read_feedback(folder)
            assert (kept.version, kept.label) == (version, answer["label"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "The document is empty"),
        (b"[]", "Is not object"),
        (b'{"model": "dogs", "photo": {"b64": ""}}', "Feedback has a model and a correction"),
        (b'{"model": "dogs", "correction": "sad"}', "not formatted correctly for base64"),
        (b'{"model": "dogs", "correction": "sad", "photo": {"b64": "!"}}', "Unable to base64"),
        (b'{"model": "dogs", "correction": "sad", "photo": {"b64": ""}}', "the probabilities"),
    ],
)
def test_what_is_no_feedback_is_refused(client: Client, body: bytes, words: str) -> None:
    reply = client.ask("POST", "/feedback", body, JSON)
    assert reply.status == 400
    assert words in reply.json["error"]


def test_a_correction_is_one_of_the_classes(client: Client, folder: Path) -> None:
    reply = say(client, draw(1), "../../etc")
    assert reply.status == 400
    assert "should be one of angry, happy, relaxed, sad" in reply.json["error"]
    assert names(folder) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_another_sites_page_is_refused(
    client: Client, folder: Path, headers: dict[str, str], status: int
) -> None:
    assert say(client, draw(1), "sad", headers=headers).status == status


def test_nothing_that_was_kept_can_be_read_from_the_server(client: Client, folder: Path) -> None:
    assert say(client, draw(1), "sad").status == 200
    assert client.ask("GET", "/feedback").status == 405
    for name in names(folder):
        for path in (f"/{name}", f"/feedback/{name}", f"/../feedback/{name}"):
            assert client.ask("GET", path).status in (404, 405)


def test_a_full_folder_says_so_and_the_server_goes_on(client: Client, folder: Path) -> None:
    for seed in (1, 2, 3):
        assert say(client, draw(seed), "sad").status == 200
    before = names(folder)
    reply = say(client, draw(4), "sad")
    assert reply.status == 507
    assert "it holds 3 photos, and may hold no more" in reply.json["error"]
    assert names(folder) == before
    assert say(client, draw(1), "angry").status == 200  # of a photo that is there already
    for file in folder.iterdir():
        file.unlink()
    assert say(client, draw(4), "sad").status == 200


def test_the_bytes_of_the_folder_are_bounded(tmp_path: Path) -> None:
    kept = FeedbackFolder(tmp_path, most_photos=9, most_bytes=10_000)
    kept.keep(about(b"x" * 5_000), b"x" * 5_000)
    with pytest.raises(FullError, match="no more than 0 MB"):
        kept.keep(about(b"y" * 5_000), b"y" * 5_000)
    assert len(names(tmp_path)) == 2


def about(photo: bytes) -> Feedback:
    sha256 = hashlib.sha256(photo).hexdigest()
    return Feedback(
        sha256=sha256,
        photo=f"{sha256}.jpg",
        when="2026-01-31T12:00:00Z",
        model="dogs",
        version="7",
        label="sad",
        probabilities={"happy": 0.25, "sad": 0.75},
        certain=None,
        dog=None,
        correction="happy",
    )


def test_without_feedback_there_is_no_such_path(base: Path) -> None:
    with serving(ModelConfig("dogs", base)) as client:
        assert client.ask("GET", "/endpoints.json").json == []
        assert client.ask("POST", "/feedback", b"{}", JSON).status in (404, 405)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ServerConfigError, match=r"--feedback .*file cannot be written"):
        FeedbackFolder(file, 1, 1)


WRITER = """
import sys
from pathlib import Path
from serving.observing.feedback_folder import FeedbackFolder
from tests.serving.observing.test_feedback import about
kept = FeedbackFolder(Path(sys.argv[1]), 10**6, 10**12)
print("ready", flush=True)
for number in range(10**6):
    photo = str(number).encode() * 20_000
    kept.keep(about(photo), photo)
"""


def test_a_kill_leaves_what_was_kept_and_no_half_of_anything(tmp_path: Path) -> None:
    for round_ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.05 + 0.03 * round_)
            writer.kill()
        found, remarks = read_feedback(tmp_path)
        assert found
        assert not remarks
    FeedbackFolder(tmp_path, 10**6, 10**12).keep(about(b"z"), b"z")
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_two_servers_share_a_folder_and_its_bound(tmp_path: Path) -> None:
    folders = [FeedbackFolder(tmp_path, 20, 10**9) for _ in range(2)]

    def fill(which: int) -> None:
        for number in range(30):
            photo = f"{which} {number}".encode()
            try:
                folders[which].keep(about(photo), photo)
            except FullError:
                return

    threads = [threading.Thread(target=fill, args=[which]) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, remarks = read_feedback(tmp_path)
    assert (len(found), remarks) == (20, [])


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 KB; skipped where this user may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "200k") as mounted:
        if not mounted:
            pytest.skip("a small disk to fill cannot be mounted by this user")
        yield disk


def test_a_full_disk_says_so_and_keeps_what_there_was(full_disk: Path) -> None:
    kept = FeedbackFolder(full_disk, 100, 10**9)
    kept.keep(about(b"a" * 100_000), b"a" * 100_000)
    before = names(full_disk)
    with pytest.raises(FullError, match="the disk is full"):
        kept.keep(about(b"b" * 150_000), b"b" * 150_000)
    assert names(full_disk) == before
    found, remarks = read_feedback(full_disk)
    assert (len(found), remarks) == (1, [])
