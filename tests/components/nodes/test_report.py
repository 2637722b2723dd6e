"""The node on drawn dogs: their records, their activations, and answers that are made up."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.evaluation.table import Photo
from components.staging import readable
from components.training.history import HISTORY, SUMMARY, write_history
from data.contract import features
from pipeline.config import Config
from tests.components.report.conftest import history, training, write_evaluation

Inputs = dict[str, Any]


@pytest.fixture(scope="module")
def inputs(
    config: Config,
    new_artifact: Any,
    examples: Any,
    statistics: Any,
    activations: Any,
    records: dict[str, list[bytes]],
) -> Inputs:
    evaluation = new_artifact(standard_artifacts.ModelEvaluation)
    rows = []
    for record in records["test"]:
        values = tf.train.Example.FromString(record).features.feature
        name, label, sha256 = (
            values[key].bytes_list.value[0].decode()
            for key in (features.FILENAME, features.LABEL, features.SHA256)
        )
        rows.append(Photo(name, sha256, sha256, label, 100.0, 200, 200))
    write_evaluation(Path(evaluation.uri), config.classes, rows=rows)
    run = new_artifact(standard_artifacts.ModelRun)
    write_history(history(), Path(run.uri) / HISTORY)
    (Path(run.uri) / SUMMARY).write_text(json.dumps(training()))
    return {
        "evaluation": evaluation,
        "model_run": run,
        "examples": examples,
        "statistics": statistics,
        "activations": activations,
    }


@pytest.mark.parametrize("remote", [False, True])
def test_the_page_shows_the_photos_and_their_neighbours_in_training(
    run_node: Any,
    inputs: Inputs,
    to_remote: Any,
    records: dict[str, list[bytes]],
    config: Config,
    remote: bool,
) -> None:
    given = {key: to_remote(each) for key, each in inputs.items()} if remote else inputs
    report = run_node("Report", given, remote=remote)["report"]
    with readable(f"{report.uri}/index.html") as file:
        page = file.read_text(encoding="utf-8")
    with readable(f"{report.uri}/run.json") as file:
        description = json.loads(file.read_text(encoding="utf-8"))

    assert "not at hand" not in page
    neighbours = re.findall(
        r'<span class="name" title="([^"]+)">[^<]+</span> (-?[\d.]+)</figcaption>', page
    )
    assert len(neighbours) >= 6
    names = {
        tf.train.Example.FromString(record)
        .features.feature[features.FILENAME]
        .bytes_list.value[0]
        .decode()
        for record in records["train"]
    }
    assert {name for name, _ in neighbours} <= names
    assert all(0.2 < float(similarity) <= 1 for _, similarity in neighbours)
    for name in config.classes:
        counts = [
            sum(f"{name}/".encode() in record for record in records[split])
            for split in features.SPLITS
        ]
        cells = "".join(f'<td class="number">{n}</td>' for n in (*counts, sum(counts)))
        assert f'<th class="name">{name}</th>{cells}' in page
    assert description["settings"] == json.loads(config.model_dump_json())
    assert {"tensorflow", "tfx", "Python"} <= description["versions"].keys()


def test_without_activations_it_says_why_there_are_no_neighbours(
    run_node: Any, inputs: Inputs
) -> None:
    given = {key: each for key, each in inputs.items() if key != "activations"}
    page = Path(run_node("Report", given)["report"].uri, "index.html").read_text(encoding="utf-8")
    assert "Similar training photos are not shown" in page
    assert "training.augmentation.mode is on_the_fly" in page
    assert "Most similar of any label" not in page
