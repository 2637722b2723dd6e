"""Several backbones from the activations to one exported model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.utils import path_utils

from components.training.settings import TrainingSettings
from components.training.warm_start import FORMAT
from pipeline.config import Config
from serving.checking.export_check import check_export

BACKBONES = ("tiny", "efficientnet_b0")
"""The second one stands for B0 wherever its weights can be downloaded."""


@pytest.fixture(scope="module", params=["cached", "on_the_fly"])
def settings(config: Config, request: pytest.FixtureRequest) -> Config:
    # On the fly, B0's last layers would take a minute.
    epochs = {"cached": 1, "on_the_fly": 0}[request.param]
    training = TrainingSettings.model_validate(
        {
            "batch_size": 16,
            "frozen": {"epochs": 1, "learning_rate": 1e-3},
            "unfrozen": {"epochs": epochs, "learning_rate": 1e-3},
            "augmentation": {"mode": request.param, "views": 1},
        }
    )
    model = config.model.model_copy(update={"backbone": BACKBONES})
    return config.model_copy(update={"model": model, "training": training})


@pytest.fixture(scope="module")
def inputs(
    settings: Config, run_node: Any, examples: Any, transform_graph: Any, statistics: Any
) -> dict[str, Any]:
    inputs = {"examples": examples, "transform_graph": transform_graph}
    if settings.training.augmentation.mode == "cached":
        cache = run_node("ActivationCache", {**inputs, "statistics": statistics}, config=settings)
        inputs["examples"] = cache["activations"]
    return inputs


@pytest.fixture(scope="module")
def outputs(settings: Config, run_node: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What Trainer leaves of an ensemble."""
    found: dict[str, Any] = run_node("Trainer", inputs, config=settings)
    return found


@pytest.fixture(scope="module")
def summary(outputs: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        Path(outputs["model_run"].uri, "training.json").read_text(encoding="utf-8")
    )
    return found


def test_each_member_has_its_phases_and_its_logs(
    outputs: dict[str, Any], summary: dict[str, Any], settings: Config
) -> None:
    phases = ["frozen", "unfrozen"] if settings.training.unfrozen.epochs else ["frozen"]
    wanted = [f"{backbone} {phase}" for backbone in BACKBONES for phase in phases]
    assert [phase["name"] for phase in summary["phases"]] == wanted
    kept = summary["exported_phase"].split(" + ")
    assert [each.split()[0] for each in kept] == list(BACKBONES)
    history = Path(outputs["model_run"].uri, "history.csv").read_text().splitlines()
    assert list(dict.fromkeys(line.split(",")[0] for line in history[1:])) == wanted
    logs = Path(outputs["model_run"].uri, "tensorboard")
    if "unfrozen" in phases:
        assert {path.name for path in logs.iterdir()} == {*BACKBONES}


def test_one_model_with_the_origin_of_each_member_can_be_served(
    outputs: dict[str, Any], records: dict[str, list[bytes]]
) -> None:
    model = outputs["model"]
    assert model.get_string_custom_property("backbone") == "tiny + efficientnet_b0"
    assert model.get_string_custom_property("weights_source") == "random + random"
    version = Path(path_utils.serving_model_path(model.uri))
    assert [check for check in check_export(version) if check.problems] == []
    # A later training cannot go on from several.
    assert not Path(model.uri, FORMAT).exists()
    exported = tf.saved_model.load(str(version))
    answer = exported.signatures["serving_examples"](tf.constant(records["val"]))
    np.testing.assert_allclose(answer["probabilities"].numpy().sum(axis=1), 1, rtol=1e-5)


# The views that are taught must be those that were cached.
@pytest.mark.parametrize("settings", ["cached"], indirect=True)
def test_an_ensemble_teaches_one_classifier_which_alone_is_exported(
    settings: Config, run_node: Any, inputs: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    training = settings.training.model_copy(update={"distill": True, "refit": True})
    config = settings.model_copy(update={"training": training})
    outputs = run_node("Trainer", inputs, config=config)
    summary = json.loads(Path(outputs["model_run"].uri, "training.json").read_text())
    assert summary["backbone"] == "tiny"
    assert [phase["name"] for phase in summary["phases"]][-2:] == [
        "student frozen",
        "student unfrozen",
    ]
    assert summary["exported_phase"].startswith("student ")
    assert "  the ensemble, which teaches:\n" in capsys.readouterr().out
    model = outputs["model"]
    assert model.get_string_custom_property("backbone") == "tiny"
    version = Path(path_utils.serving_model_path(model.uri))
    assert sum(file.stat().st_size for file in version.rglob("*") if file.is_file()) < 3e6
    # A run with the first backbone alone may go on from it.
    assert json.loads(Path(model.uri, FORMAT, "origin.json").read_text())["backbone"] == "tiny"
