import csv
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf
from tfx.utils import path_utils

from components.errors import ComponentError
from components.model.classifier import build_classifier
from components.model.weights import build_backbone
from components.training import phases as training
from components.training.augmentation_settings import AugmentationSettings
from components.training.checkpoint import PhaseCheckpoint
from components.training.history import read_history
from components.training.settings import FrozenSettings, PhaseSettings, TrainingSettings
from data.contract import features
from data.contract.model import ANSWERS
from data.ingest import IngestResult
from pipeline.config import Config

EPOCH = FrozenSettings(epochs=1, learning_rate=0.01, solver="adam")
EPOCHS = FrozenSettings(epochs=2, learning_rate=0.01, solver="adam")
SOLVED = FrozenSettings(epochs=1, learning_rate=0.01, solver="lbfgs")
UNFROZEN_EPOCH = PhaseSettings(epochs=1, learning_rate=0.01)
UNFROZEN_EPOCHS = PhaseSettings(epochs=2, learning_rate=0.01)
LEFT_OUT = PhaseSettings(epochs=0, learning_rate=0.01)


Mode = Literal["cached", "on_the_fly"]
MODES: tuple[Mode, ...] = ("cached", "on_the_fly")


def trained_by(config: Config, mode: Mode, **settings: Any) -> Config:
    settings["augmentation"] = AugmentationSettings(mode=mode)
    return config.model_copy(update={"training": TrainingSettings(batch_size=16, **settings)})


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def inputs(mode: Mode, examples: Any, activations: Any, transform_graph: Any) -> dict[str, Any]:
    source = activations if mode == "cached" else examples
    return {"examples": source, "transform_graph": transform_graph}


@pytest.fixture(scope="module")
def outputs(config: Config, mode: Mode, run_node: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What the node leaves of two frozen epochs and an unfrozen one."""
    two_phases = trained_by(config, mode, frozen=EPOCHS, unfrozen=UNFROZEN_EPOCH)
    found: dict[str, Any] = run_node("Trainer", inputs, config=two_phases)
    return found


@pytest.fixture(scope="module")
def run_dir(outputs: dict[str, Any]) -> Path:
    return Path(outputs["model_run"].uri)


def test_the_model_says_where_its_weights_come_from(outputs: dict[str, Any]) -> None:
    model = outputs["model"]
    properties = ("backbone", "weights_source", "weights_sha256")
    found = [model.get_string_custom_property(name) for name in properties]
    assert found == ["tiny", "random", "none"]


def test_the_run_leaves_history_and_logs(run_dir: Path) -> None:
    with (run_dir / "history.csv").open(newline="") as file:
        rows = [(row["phase"], row["epoch"]) for row in csv.DictReader(file)]
    assert rows == [("frozen", "1"), ("frozen", "2"), ("unfrozen", "1")]
    logs = {file.relative_to(run_dir / "tensorboard") for file in run_dir.rglob("events.out.*")}
    assert {log.parts[:2] for log in logs} == {
        (phase, split) for phase in ("frozen", "unfrozen") for split in ("train", "validation")
    }


def test_the_summary_counts_and_measures(
    outputs: dict[str, Any],
    run_dir: Path,
    ingested: IngestResult,
    records: dict[str, list[bytes]],
    config: Config,
    mode: Mode,
) -> None:
    summary = json.loads((run_dir / "training.json").read_text())
    assert summary["backbone"] == "tiny"
    assert summary["train_photos"] == ingested.counts["train"]
    assert list(summary["train_photos"]) == list(config.classes)
    frozen, unfrozen = summary["phases"]
    assert (frozen["name"], frozen["epochs"]) == ("frozen", 2)
    assert (unfrozen["name"], unfrozen["epochs"], unfrozen["best_epoch"]) == ("unfrozen", 1, 1)
    better = min(summary["phases"], key=lambda phase: float(phase["val"]["loss"]))
    assert summary["exported_phase"] == better["name"]

    exported = tf.saved_model.load(path_utils.serving_model_path(outputs["model"].uri))
    examples = tf.constant(records["val"])
    calibrated = exported.signatures["serving_examples"](examples)["probabilities"].numpy()
    labels = exported.signatures["transform_features"](examples)["label_xf"].numpy()
    probabilities = calibrated ** summary["answers"]["temperature"]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    likelihood = probabilities[np.arange(len(labels)), labels]
    assert better["val"] == pytest.approx(
        {
            "accuracy": np.mean(probabilities.argmax(axis=1) == labels),
            "loss": -np.log(likelihood).mean(),
        },
        # The cache rounds activations to float16, by up to 2**-11 = 5e-4 of each.
        rel=1e-4 if mode == "on_the_fly" else 2e-3,
    )


def test_the_run_says_how_the_answers_were_settled_and_the_model_carries_it(
    outputs: dict[str, Any], run_dir: Path
) -> None:
    version = Path(path_utils.serving_model_path(outputs["model"].uri))
    answers = json.loads((version / ANSWERS).read_text())
    assert answers == json.loads((run_dir / "training.json").read_text())["answers"]
    assert answers["certain"]["asked"] == 0.7
    assert answers["dog"]["by"] is None
    assert answers["dog"]["why"].startswith("the weights before training are random")
    exported = tf.saved_model.load(str(version))
    assert "dog" not in exported.signatures["serving_default"].structured_outputs


def test_a_backbone_that_has_learnt_something_tells_other_things_from_dogs(
    config: Config,
    mode: Mode,
    run_node: Any,
    examples: Any,
    transform_graph: Any,
    statistics: Any,
    records: dict[str, list[bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """That is, whose weights are in a file: those of a backbone for tests are as good as any."""
    backbone, _ = build_backbone("tiny", "random")
    backbone.save_weights(tmp_path / "own.weights.h5")
    own = config.model.model_copy(update={"weights": str(tmp_path / "own.weights.h5")})
    settings = trained_by(config, mode, frozen=EPOCH, unfrozen=UNFROZEN_EPOCHS)
    settings = settings.model_copy(update={"model": own})
    inputs = {"examples": examples, "transform_graph": transform_graph}
    if mode == "cached":
        cache = {**inputs, "statistics": statistics}
        inputs["examples"] = run_node("ActivationCache", cache, config=settings)["activations"]
    model = run_node("Trainer", inputs, config=settings)["model"]
    assert "  dog: by the distance from the training photos, " in capsys.readouterr().out
    version = path_utils.serving_model_path(model.uri)
    signature = tf.saved_model.load(version).signatures["serving_default"]
    dogs = [
        tf.train.Example.FromString(record).features.feature[features.IMAGE].bytes_list.value[0]
        for record in records["val"]
    ]
    assert np.mean(signature(tf.constant(dogs))["dog"].numpy() >= 0.5) >= 0.9
    noise = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)
    others = tf.constant([tf.io.encode_png(image).numpy() for image in noise])
    assert (signature(others)["dog"].numpy() < 0.5).all()


def test_remote_artifacts_are_read_and_written(
    config: Config,
    mode: Mode,
    run_node: Any,
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    to_remote: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing may stay in the temporary folder, nor end up in a folder `ram:` here.
    for folder in (tmp_path / "temporary", tmp_path / "here"):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "here")
    remote = {name: to_remote(artifact) for name, artifact in inputs.items()}
    two_phases = trained_by(config, mode, frozen=EPOCHS, unfrozen=UNFROZEN_EPOCH)
    found = run_node("Trainer", remote, config=two_phases, remote=True)
    assert not list(tmp_path.glob("*/*"))

    assert found["model"].get_string_custom_property("backbone") == "tiny"
    for name in ("model", "model_run"):
        assert found[name].uri.startswith("ram://")
        assert files_below(found[name].uri) == files_below(outputs[name].uri)
    exported = tf.saved_model.load(path_utils.serving_model_path(found["model"].uri))
    photo = tf.io.encode_jpeg(tf.zeros([224, 224, 3], tf.uint8))
    answer = exported.signatures["serving_default"](tf.expand_dims(photo, 0))
    assert answer["labels"].numpy()[0].tolist() == [name.encode() for name in config.classes]


def files_below(uri: str) -> list[str]:
    """The files of an artifact; TensorBoard's are represented by their folder."""
    found = (
        f"{folder}/{'' if file.startswith('events') else file}".removeprefix(uri)
        for folder, _, files in tf.io.gfile.walk(uri)
        for file in files
    )
    return sorted(found)


def test_a_killed_run_goes_on_and_a_different_one_starts_over(
    config: Config,
    mode: Mode,
    run_node: Any,
    inputs: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Killed(PhaseCheckpoint):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            super().on_epoch_end(epoch, logs)
            raise KeyboardInterrupt

    def train(config: Config) -> tuple[Path, str]:
        run = run_node("Trainer", inputs, config=config)["model_run"]
        return Path(run.uri), capsys.readouterr().out

    killed = trained_by(config, mode, frozen=EPOCHS, unfrozen=LEFT_OUT)
    with monkeypatch.context() as patches:
        patches.setattr(training, "PhaseCheckpoint", Killed)
        with pytest.raises(KeyboardInterrupt):
            train(killed)
    capsys.readouterr()

    _, output = train(trained_by(config, mode, frozen=EPOCH, unfrozen=LEFT_OUT))
    assert "going on" not in output
    run_dir, output = train(killed)
    assert "phase frozen: going on after epoch 1" in output
    (phase,) = json.loads((run_dir / "training.json").read_text())["phases"]
    assert phase["epochs"] == 2
    assert not list((run_dir.parent / "unfinished").iterdir())


def test_the_head_is_solved_and_training_goes_on_from_its_optimum(
    config: Config,
    mode: Mode,
    run_node: Any,
    inputs: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    hardly = PhaseSettings(epochs=1, learning_rate=1e-6)
    solved = trained_by(config, mode, frozen=SOLVED, unfrozen=hardly)
    run_dir = Path(run_node("Trainer", inputs, config=solved)["model_run"].uri)
    assert "  phase frozen: the head's optimum, in " in capsys.readouterr().out
    frozen, unfrozen = read_history(run_dir / "history.csv")
    assert frozen.kept == len(frozen.history) - 1
    assert frozen.best["loss"] < frozen.history[0]["loss"]
    # An epoch that began with a head of zeros would begin near the logarithm of the classes.
    assert unfrozen.history[0]["loss"] < np.log(len(config.classes))
    frozen_figures = json.loads((run_dir / "training.json").read_text())["phases"][0]
    assert frozen_figures["best_epoch"] == frozen_figures["epochs"] == len(frozen.history)


def test_a_head_that_is_solved_may_be_all_there_is(
    config: Config, mode: Mode, run_node: Any, inputs: dict[str, Any]
) -> None:
    alone = trained_by(config, mode, frozen=SOLVED, unfrozen=LEFT_OUT)
    run_dir = Path(run_node("Trainer", inputs, config=alone)["model_run"].uri)
    summary = json.loads((run_dir / "training.json").read_text())
    assert [phase["name"] for phase in summary["phases"]] == ["frozen"]
    assert not list((run_dir.parent / "unfinished").iterdir())


def kept_weights(run: dict[str, Any], config: Config) -> list[np.ndarray]:
    """What a later training may go on from."""
    model = build_classifier(config.model, len(config.classes)).model
    model.load_weights(Path(run["model"].uri) / "Format-Keras" / "classifier.weights.h5")
    weights: list[np.ndarray] = model.get_weights()
    return weights


def test_a_refit_learns_from_the_validation_photos_and_leaves_the_figures_alone(
    config: Config,
    mode: Mode,
    run_node: Any,
    inputs: dict[str, Any],
    records: dict[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    phases = {"frozen": SOLVED, "unfrozen": PhaseSettings(epochs=6, learning_rate=0.003)}
    plain, refit = (
        run_node("Trainer", inputs, config=trained_by(config, mode, refit=refit, **phases))
        for refit in (False, True)
    )
    assert "  refit: on the training and the validation photos together" in capsys.readouterr().out
    summaries = [
        json.loads((Path(run["model_run"].uri) / "training.json").read_text())
        for run in (plain, refit)
    ]
    assert [each["phases"] for each in summaries] == [summaries[0]["phases"]] * 2
    assert [each["refit"] for each in summaries] == [False, True]
    # A later training may go on from what has not learnt its validation photos.
    for one, other in zip(*(kept_weights(run, config) for run in (plain, refit)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    losses = []
    for run in (plain, refit):
        exported = tf.saved_model.load(path_utils.serving_model_path(run["model"].uri))
        examples = tf.constant(records["val"])
        labels = exported.signatures["transform_features"](examples)["label_xf"].numpy()
        told = exported.signatures["serving_examples"](examples)["probabilities"].numpy()
        losses.append(-np.log(told[np.arange(len(labels)), labels]).mean())
    assert losses[1] < losses[0]


def test_weights_that_are_not_available_stop_the_node(
    config: Config, run_node: Any, examples: Any, transform_graph: Any
) -> None:
    model = config.model.model_copy(update={"weights": "imagenet"})
    photos = trained_by(config, "on_the_fly").model_copy(update={"model": model})
    with pytest.raises(ComponentError, match="backbone tiny has no imagenet weights"):
        run_node(
            "Trainer",
            {"examples": examples, "transform_graph": transform_graph},
            config=photos,
        )
