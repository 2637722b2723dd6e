"""`predict` with models that only answer and with models that also say how sure they are, and why;
here and over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.contract.errors import Exit
from pipeline.cli import main
from serving.embedded.config_files import ModelConfig
from tests.serving.asking.photo_model import write_explaining_model, write_photo_model
from tests.serving.conftest import serving, wait_for

COLOURS = {"bright": (200, 220, 210), "dark": (20, 60, 20), "blue": (250, 20, 30)}
"""Blue, green, red."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_photo_model(folder / "old" / "1")
    write_explaining_model(folder / "new" / "1")
    return folder


@pytest.fixture(scope="module")
def url(models: Path) -> Iterator[str]:
    both = [ModelConfig(name, models / name) for name in ("old", "new")]
    with serving(*both) as client:
        wait_for(lambda: all(client.states(name) == {1: "AVAILABLE"} for name in ("old", "new")))
        yield client.url.rstrip("/")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("photos")
    for name, colour in COLOURS.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.full((40, 60, 3), colour, np.uint8))
    return [str(folder / f"{name}.png") for name in COLOURS]


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("model", ["old", "new"])
def test_answers_and_figures_say_what_the_model_tells(
    model: str,
    remote: bool,
    models: Path,
    url: str,
    photos: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = [f"--url={url}/v1/models/{model}"] if remote else [f"--model={models / model}"]
    plot = tmp_path / "figure.png"
    assert main(["predict", *photos, *where, f"--plot={plot}"]) == Exit.DONE
    headings = [
        line.partition(": ")[2]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(tuple(photos))
    ]
    assert main(["predict", *photos, *where, "--json"]) == Exit.DONE
    entries = json.loads(capsys.readouterr().out)
    assert all(sum(entry["probabilities"].values()) == pytest.approx(1) for entry in entries)
    picture = cv2.imread(str(plot))
    assert picture is not None
    if model == "old":
        assert headings == [entry["label"] for entry in entries]
        assert all(entry.keys() == {"photo", "label", "probabilities"} for entry in entries)
    else:
        assert headings == [entries[0]["label"], "not sure", "no dog here"]
        assert [entry["certain"] for entry in entries[:2]] == [True, False]
        assert entries[2]["dog"] < 0.5 < entries[0]["dog"]
    # Three photos side by side, or two rows of two pairs.
    assert (picture.shape[1] > 1.6 * picture.shape[0]) == (model == "old")


def test_a_label_needs_a_server(photos: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *photos, "--label", "canary"]) == Exit.USAGE
    assert "--label canary is for a server: name it by --url" in capsys.readouterr().err
