"""The README's requests, run as they are printed, against a server on another port."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data.contract.model import MODEL_NAME
from data.drawn_dogs import draw_photo
from serving.embedded.config_files import ModelConfig
from tests.serving.asking.photo_model import LABELS, write_photo_model
from tests.serving.conftest import Client, serving, wait_for

README = Path(__file__).parents[2] / "README.md"


def example(language: str, word: str) -> str:
    """The README's block of a language that holds a word."""
    blocks = re.findall(
        rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL
    )
    (found,) = [block for block in blocks if word in block]
    return str(found)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    base = tmp_path_factory.mktemp("models") / MODEL_NAME
    write_photo_model(base / "1")
    with serving(ModelConfig(MODEL_NAME, base)) as client:
        wait_for(lambda: client.states(MODEL_NAME) == {1: "AVAILABLE"})
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photo.jpg").write_bytes(draw_photo("sad", np.random.default_rng(1)))
    return tmp_path


def at(client: Client, text: str) -> str:
    assert "http://localhost:8501/" in text
    return text.replace("http://localhost:8501/", client.url)


def test_the_python_example_prints_the_probabilities(client: Client, folder: Path) -> None:
    code = at(client, example("python", "urllib"))
    assert len(code.splitlines()) <= 10
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [label for label, _ in lines] == list(LABELS)
    assert 0.97 < sum(float(probability) for _, probability in lines) < 1.03


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_curl_example_prints_the_answer(client: Client, folder: Path) -> None:
    command = at(client, example("sh", "curl"))
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, check=True, capture_output=True, text=True
    )
    (prediction,) = json.loads(done.stdout)["predictions"]
    assert prediction["label"] in LABELS


def test_predict_asks_a_server(client: Client, folder: Path) -> None:
    dog_emotion = Path(sys.executable).with_name("dog-emotion")
    done = subprocess.run(
        [dog_emotion, "predict", "--json", "--url", client.url, "photo.jpg"],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    (answer,) = json.loads(done.stdout)
    assert answer["label"] in LABELS
    assert list(answer["probabilities"]) == list(LABELS)
