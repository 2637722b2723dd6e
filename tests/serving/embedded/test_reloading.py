"""A configuration file that changes while the server runs: labels, versions, canaries."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from serving.embedded.config_files import ModelConfig, read_models
from tests.serving.conftest import Client, serving, wait_for
from tests.serving.embedded.models import NAME

FIRST, SECOND = {"predictions": [2.5]}, {"predictions": [2.25]}
"""What versions 1 and 2 answer to 1."""


class Followed:
    """A server that follows a file with version 1 as stable."""

    def __init__(self, file: Path, base: Path) -> None:
        self.file = file
        self._base = base
        self.write([1], {"stable": 1})
        self.lines: list[str] = []

    def write(self, versions: Sequence[int], labels: Mapping[str, int]) -> None:
        wanted = " ".join(f"versions: {version}" for version in versions)
        named = " ".join(
            f'version_labels {{ key: "{label}" value: {version} }}'
            for label, version in labels.items()
        )
        self.text(
            f'model_config_list {{ config {{ name: "{NAME}" base_path: "{self._base}" '
            f"model_version_policy {{ specific {{ {wanted} }} }} {named} }} }}"
        )

    def text(self, content: str) -> None:
        unfinished = self.file.with_name("unfinished")
        unfinished.write_text(content)
        unfinished.rename(self.file)

    def said(self, words: str) -> bool:
        return any(words in line for line in self.lines)


@pytest.fixture
def followed(tmp_path: Path, conformance_models: Path) -> Followed:
    return Followed(tmp_path / "models.config", conformance_models)


@pytest.fixture
def client(followed: Followed) -> Iterator[Client]:
    with started(followed) as client:
        yield client


def started(followed: Followed, **options: Any) -> Any:
    return serving(
        *read_models(followed.file),
        announce=followed.lines.append,
        model_config_file=followed.file,
        model_config_file_poll_wait_seconds=0.05,
        **options,
    )


def test_a_file_that_appears_is_followed_without_a_request_lost(
    followed: Followed, conformance_models: Path
) -> None:
    """Though it gives the label to a version that is not loaded: it is the first one."""
    content = followed.file.read_text()
    followed.file.unlink()
    with serving(
        ModelConfig(NAME, conformance_models),
        announce=followed.lines.append,
        model_config_file=followed.file,
        model_config_file_poll_wait_seconds=0.05,
        model_config_file_awaited=True,
        canary_share=0,
    ) as client:
        wait_for(lambda: client.states(NAME) == {2: "AVAILABLE"})
        assert ask(client) == SECOND
        assert not followed.said("config ")
        followed.text(content)
        answers = [ask(client)]
        deadline = time.monotonic() + 60
        while answers[-1] != FIRST and time.monotonic() < deadline:
            answers.append(ask(client))
        assert answers[-1] == FIRST
        assert all(answer in (FIRST, SECOND) for answer in answers)
        assert ask(client, "/labels/stable") == FIRST
        # From then on it is as any other.
        followed.write([1], {"stable": 2})
        wait_for(lambda: followed.said("refused"))
        assert ask(client, "/labels/stable") == FIRST


def ask(client: Client, target: str = "") -> Any:
    return client.predict(f"{NAME}{target}", {"instances": [1]}).json


def test_a_label_moves_once_its_version_is_loaded(followed: Followed, client: Client) -> None:
    wait_for(lambda: ask(client, "/labels/stable") == FIRST)
    followed.write([1, 2], {"stable": 1})
    wait_for(lambda: client.states(NAME) == {2: "AVAILABLE", 1: "AVAILABLE"})
    assert ask(client, "/labels/stable") == FIRST
    followed.write([2], {"stable": 2})
    wait_for(lambda: client.states(NAME) == {2: "AVAILABLE", 1: "END"})
    assert ask(client, "/labels/stable") == SECOND
    followed.write([1, 2], {"stable": 2})
    wait_for(lambda: client.states(NAME) == {2: "AVAILABLE", 1: "AVAILABLE"})
    followed.write([1], {"stable": 1})
    wait_for(lambda: client.states(NAME) == {2: "END", 1: "AVAILABLE"})
    assert ask(client) == FIRST


@pytest.mark.parametrize("label", ["stable", "canary"])
def test_a_label_of_a_version_that_is_not_loaded_is_refused_with_the_whole_file(
    followed: Followed, client: Client, label: str
) -> None:
    """As in TF Serving, which looks at labels before it loads anything."""
    wait_for(lambda: ask(client) == FIRST)
    followed.write([1, 2], {"stable": 1, label: 2})
    wait_for(lambda: followed.said("which is not currently available for inference"))
    assert client.states(NAME) == {1: "AVAILABLE"}
    assert ask(client, "/labels/stable") == FIRST
    followed.write([1, 2], {"stable": 1})
    wait_for(lambda: client.states(NAME) == {2: "AVAILABLE", 1: "AVAILABLE"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "names no model"),
        ("model_config_list {", "is not a text ModelServerConfig"),
        (None, "cannot be read: No such file or directory"),
        ('model_config_list { config { name: "a" base_path: "/nowhere" } }', "is not a folder"),
    ],
)
def test_a_broken_file_leaves_what_is_served_alone(
    followed: Followed, client: Client, content: str | None, words: str
) -> None:
    wait_for(lambda: ask(client) == FIRST)
    if content is None:
        followed.file.unlink()
    else:
        followed.text(content)
    wait_for(lambda: followed.said(words))
    assert ask(client, "/labels/stable") == FIRST
    assert len([line for line in followed.lines if line.startswith("config")]) == 1
    followed.write([1, 2], {"stable": 1})
    wait_for(lambda: client.states(NAME) == {2: "AVAILABLE", 1: "AVAILABLE"})


def test_models_come_and_go(followed: Followed, client: Client, conformance_models: Path) -> None:
    wait_for(lambda: ask(client) == FIRST)
    followed.text(
        f'model_config_list {{ config {{ name: "other" base_path: "{conformance_models}" }} }}'
    )
    wait_for(lambda: client.states("other") == {2: "AVAILABLE"})
    assert client.states(NAME) == {}
    assert client.ask("GET", "/models.json").json == {"other": []}


def test_a_file_that_is_not_to_be_followed_is_read_once(followed: Followed) -> None:
    with serving(*read_models(followed.file), model_config_file=followed.file) as client:
        wait_for(lambda: ask(client) == FIRST)
        followed.write([2], {})
        with pytest.raises(AssertionError, match="in vain"):
            wait_for(lambda: 2 in client.states(NAME), seconds=0.5)


@pytest.mark.parametrize(
    ("share", "answers"),
    [(None, [SECOND]), (0, [FIRST]), (1, [SECOND]), (0.5, [FIRST, SECOND])],
)
def test_a_share_of_what_names_no_version_goes_to_the_canary(
    followed: Followed, share: float | None, answers: list[Any]
) -> None:
    """Without one, the newest version answers all, as in TF Serving."""
    followed.write([1, 2], {"stable": 1, "canary": 2})
    with started(followed, canary_share=share) as client:
        wait_for(lambda: client.states(NAME) == {2: "AVAILABLE", 1: "AVAILABLE"})
        found = [ask(client) for _ in range(60)]  # all of one by chance: once in 10 to the 18
        assert [each for each in (FIRST, SECOND) if each in found] == answers
        assert ask(client, "/labels/stable") == ask(client, "/versions/1") == FIRST
        assert ask(client, "/labels/canary") == SECOND
        counts = counted(client)
        assert counts[1, "stable", "OK"] == 1 + found.count(FIRST)
        assert counts[1, "", "OK"] == 1
        if share is None:
            assert counts[2, "", "OK"] == 60
        else:
            assert counts[2, "canary", "OK"] == 1 + found.count(SECOND)
        client.predict(f"{NAME}/labels/canary", {"instances": ["x"]})
        assert counted(client)[2, "canary", "INVALID_ARGUMENT"] == 1


def test_what_is_stable_answers_while_the_canary_is_not_there(followed: Followed) -> None:
    followed.write([1], {"stable": 1, "canary": 7})
    with started(followed, canary_share=1) as client:
        wait_for(lambda: ask(client) == FIRST)
        assert client.predict(f"{NAME}/labels/canary", {"instances": [1]}).status == 404


def counted(client: Client) -> dict[tuple[int, str, str], int]:
    """Requests by version, label and how they ended."""
    text = client.ask("GET", "/monitoring/prometheus/metrics").body.decode()
    line = re.compile(
        rf'embedded:version_request_count{{label="(\w*)",model_name="{NAME}",status="(\w+)",'
        r'version="(\d+)"} (\d+)'
    )
    return {
        (int(version), label, status): int(count)
        for label, status, version, count in line.findall(text)
    }
