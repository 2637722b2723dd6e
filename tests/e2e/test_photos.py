"""Real photos, named in a table, through the whole job with ImageNet weights."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.photos]

CLASSES = ["angry", "happy", "relaxed", "sad"]
PER_CLASS = 150


@pytest.fixture(scope="module")
def table(dog_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table `path,label` of some photos of each class, which stay where they are."""
    table = tmp_path_factory.mktemp("table") / "photos.csv"
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for label in CLASSES:
            for photo in sorted((dog_photos / label).glob("*.jpg"))[:PER_CLASS]:
                rows.writerow([photo, label])
    return table


def test_real_photos_become_a_model_that_knows_more_than_the_majority_class(
    run: Callable[..., subprocess.CompletedProcess[str]], table: Path, dog_photos: Path
) -> None:
    home = table.parent
    few = ("--set=training.frozen.epochs=4", "--set=training.unfrozen.epochs=1")
    done = run("run", "--photos", str(table), *few, "--set=gate.over_majority=-1", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "0 rejected" in done.stdout

    metrics = json.loads((home / "runs" / "photos" / "metrics.json").read_text())
    assert metrics["classes"] == CLASSES
    assert metrics["test"]["accuracy"] > metrics["test"]["majority"]

    photos = [str(next((dog_photos / label).glob("*.jpg"))) for label in CLASSES]
    asked = run("predict", *photos, "--json", cwd=home)
    assert asked.returncode == 0, asked.stderr
    answers = json.loads(asked.stdout)
    assert [answer["photo"] for answer in answers] == photos
    for answer in answers:
        assert list(answer["probabilities"]) == CLASSES
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
