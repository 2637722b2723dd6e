"""The Tuner on the activations of drawn dogs, and what the Trainer makes of its artifact."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import sqlite_metadata_connection_config
from tfx.orchestration.pipeline import Pipeline
from tfx.types import standard_artifacts

from components.errors import ComponentError
from components.nodes.trainer import TrainerExecutor
from components.training import tuning
from components.training.augmentation_settings import AugmentationSettings
from components.training.history import SUMMARY
from components.training.hyperparameters import HEAD, NAMES, TAIL, UNFROZEN
from components.training.settings import FrozenSettings, PhaseSettings, TrainingSettings
from data.contract.model import push_destination
from pipeline.beam_args import LOCAL_BEAM_ARGS
from pipeline.config import Config
from pipeline.pipeline import create_pipeline

FILE = "best_hyperparameters.txt"


@pytest.fixture(scope="module")
def settings(config: Config) -> Config:
    training = TrainingSettings(
        batch_size=16,
        tune=True,
        frozen=FrozenSettings(epochs=2, learning_rate=0.01),
        unfrozen=PhaseSettings(epochs=1, learning_rate=0.01),
        augmentation=AugmentationSettings(mode="cached"),
    )
    return config.model_copy(update={"training": training})


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the node prints, once it has run."""
    return []


@pytest.fixture(scope="module")
def outputs(settings: Config, run_node: Any, activations: Any, said: list[str]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("builtins.print", lambda *text, **_: said.append(" ".join(map(str, text))))
        found: dict[str, Any] = run_node("Tuner", {"examples": activations}, config=settings)
    return found


@pytest.fixture(scope="module")
def values(outputs: dict[str, Any]) -> dict[str, Any]:
    """The best hyper-parameters."""
    text = (Path(outputs["best_hyperparameters"].uri) / FILE).read_text()
    found = json.loads(text)["values"]
    return {name: value for name, value in found.items() if not name.startswith("tuner/")}


@pytest.fixture(scope="module")
def trials(outputs: dict[str, Any]) -> list[dict[str, Any]]:
    rows = json.loads((Path(outputs["tuner_results"].uri) / "tuner_results.json").read_text())
    return list(rows)


@pytest.fixture
def hyperparameters(new_artifact: Any) -> Callable[[dict[str, Any]], Any]:
    """An artifact that holds these values."""

    def make(values: dict[str, Any]) -> Any:
        artifact = new_artifact(standard_artifacts.HyperParameters)
        (Path(artifact.uri) / FILE).write_text(json.dumps({"space": [], "values": values}))
        return artifact

    return make


def test_a_hundred_heads_are_tried_and_the_best_three_unfrozen(
    trials: list[dict[str, Any]],
) -> None:
    heads = [trial for trial in trials if UNFROZEN not in trial]
    assert len(heads) >= 100
    for name, choices in HEAD.items():
        assert {trial[name] for trial in heads} == {*choices}
    best = []
    for trial in sorted(heads, key=lambda trial: trial["score"]):
        values = [trial[name] for name in HEAD]
        if values not in best:
            best.append(values)
    unfrozen = sorted((trial for trial in trials if UNFROZEN in trial), key=lambda t: t[UNFROZEN])
    assert [[trial[name] for name in HEAD] for trial in unfrozen[1:]] == best[:3]
    assert [trial[TAIL] for trial in unfrozen] == [0.01, 0.01, 0.02, 0.005]


def test_the_settings_as_they_were_compete_and_the_best_on_val_wins(
    trials: list[dict[str, Any]], values: dict[str, Any], settings: Config
) -> None:
    unfrozen = [trial for trial in trials if UNFROZEN in trial]
    (before,) = (trial for trial in unfrozen if trial[UNFROZEN] == 0)
    assert before["model.dropout"] == settings.model.dropout
    assert before["training.frozen.solver"] == "lbfgs"
    assert before["training.unfrozen.learning_rate"] == 0.01
    best = min(unfrozen, key=lambda trial: trial["score"])
    assert values == {name: best[name] for name in NAMES}


def test_it_says_how_fast_it_is_and_what_it_found(
    outputs: dict[str, Any], said: list[str], trials: list[dict[str, Any]]
) -> None:
    text = "\n".join(said)
    assert "  tuning: heads 120 of 120\n" in text
    speed = re.search(r"  tuning: 120 heads in \d+ seconds, ~[\d,]+ trials a minute\n", text)
    assert speed
    best = min(trial["score"] for trial in trials if UNFROZEN in trial)
    assert f"  tuning: the best has val loss {best:.4f}, the settings as they were have " in text
    assert "Search" not in text


def test_the_trainer_takes_what_was_found_and_gets_what_the_tuner_got(
    settings: Config,
    run_node: Any,
    activations: Any,
    transform_graph: Any,
    outputs: dict[str, Any],
    values: dict[str, Any],
    trials: list[dict[str, Any]],
) -> None:
    inputs = {
        "examples": activations,
        "transform_graph": transform_graph,
        "hyperparameters": outputs["best_hyperparameters"],
    }
    run = run_node("Trainer", inputs, config=settings)["model_run"]
    summary = json.loads((Path(run.uri) / SUMMARY).read_text())
    assert summary["tuned"] == values
    best = min(trial["score"] for trial in trials if UNFROZEN in trial)
    reached = min(phase["val"]["loss"] for phase in summary["phases"])
    assert reached == pytest.approx(best, rel=1e-3)


def test_an_importer_gives_hyper_parameters_that_were_found_elsewhere(
    settings: Config,
    activations: Any,
    transform_graph: Any,
    hyperparameters: Any,
    tmp_path: Path,
) -> None:
    found = {"training.batch_size": 64, "training.unfrozen.learning_rate": 0.0004}
    graph = create_pipeline(
        settings,
        pipeline_root="unused",
        data_root="unused",
        push_destination=push_destination("unused"),
        beam_pipeline_args=LOCAL_BEAM_ARGS,
    )
    (trainer,) = (node for node in graph.components if node.id == "Trainer")

    def imported(name: str, artifact: Any, **properties: str) -> Importer:
        return Importer(
            source_uri=artifact.uri, artifact_type=type(artifact), properties=properties
        ).with_id(name)

    given = {
        "examples": imported("Activations", activations, split_names=activations.split_names),
        "transform_graph": imported("Graph", transform_graph),
        "hyperparameters": imported("Found", hyperparameters(found)),
    }
    again = type(trainer)(
        run_fn="components.nodes.trainer.run_fn",
        custom_executor_spec=trainer.executor_spec,
        **{key: each.outputs["result"] for key, each in given.items()},
        train_args=trainer.exec_properties["train_args"],
        eval_args=trainer.exec_properties["eval_args"],
        custom_config=json.loads(trainer.exec_properties["custom_config"]),
    )
    assert again.executor_spec.executor_class is TrainerExecutor
    LocalDagRunner().run(
        Pipeline(
            pipeline_name="imported",
            pipeline_root=str(tmp_path / "root"),
            components=[*given.values(), again],
            metadata_connection_config=sqlite_metadata_connection_config(str(tmp_path / "db")),
        )
    )
    (summary,) = tmp_path.glob(f"root/Trainer/model_run/*/{SUMMARY}")
    assert json.loads(summary.read_text())["tuned"] == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"training.batch_size": 0},
            "hyper-parameter training.batch_size = 0: should be greater than or equal to 1",
        ),
        ({"model.backbone": "tiny"}, 'hyper-parameter model.backbone = "tiny": no such one; '),
    ],
)
def test_hyper_parameters_that_cannot_be_are_refused_before_training(
    settings: Config,
    run_node: Any,
    activations: Any,
    transform_graph: Any,
    hyperparameters: Any,
    values: dict[str, Any],
    message: str,
) -> None:
    inputs = {
        "examples": activations,
        "transform_graph": transform_graph,
        "hyperparameters": hyperparameters(values),
    }
    with pytest.raises(ComponentError, match=f"^{re.escape(message)}"):
        run_node("Trainer", inputs, config=settings)


@pytest.mark.parametrize("error", [ComponentError("the cache is gone"), KeyboardInterrupt()])
def test_a_trial_that_fails_fails_the_node(
    settings: Config,
    run_node: Any,
    activations: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    """KerasTuner alone would do without the trial."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(tuning, "train_in_phases", fail)
    with pytest.raises(type(error)) as caught:
        run_node("Tuner", {"examples": activations}, config=settings)
    assert caught.value is error
