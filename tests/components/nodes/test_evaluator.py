"""The whole node, from records and models to figures and a verdict."""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.errors import ComponentError
from components.evaluation.chance import wilson_interval
from components.evaluation.figures import Comparison, Evaluation, read_evaluation
from components.evaluation.settings import GateSettings
from components.model.classifier import build_classifier
from components.nodes.evaluator import NO_BASELINE, OTHERS
from components.training.photo_batches import labelled_images
from data.contract.servable import LATENCY_MS, SIZE_MB
from data.ingest import IngestResult
from pipeline.config import Config

ANYTHING = GateSettings(over_majority=-1, calibration_error=1, error_rate=0)
"""Nothing but a model's costs can fail."""


@dataclass(frozen=True)
class Trained:
    """An exported model and what it says about the test photos."""

    artifact: Any
    probabilities: np.ndarray
    labels: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def right(self) -> np.ndarray:
        return np.asarray(self.predicted == self.labels)


@dataclass(frozen=True)
class Evaluated:
    """What the node has left."""

    evaluation: Evaluation
    blessing: Any
    artifact: Any

    @property
    def failed(self) -> set[str]:
        return {each.name for each in self.evaluation.conditions if not each.passed}

    @property
    def blessed(self) -> bool:
        return bool(self.blessing.get_int_custom_property("blessed"))


@pytest.fixture(scope="module")
def models(
    config: Config,
    transform: Any,
    export_plainly: Any,
    split_files: dict[str, str],
    new_artifact: Any,
) -> dict[str, Trained]:
    """One that knows most of the test photos, one that knows half, one that always guesses."""
    ((images, ids),) = labelled_images(split_files["test"], transform, batch_size=99)
    labels = ids.numpy()
    classifier = build_classifier(config.model, len(config.classes))
    model = classifier.model
    features = classifier.backbone(images, training=False).numpy().mean(axis=(1, 2))
    head = classifier.head.get_layer("probabilities")
    heads = {"guessing": [np.zeros((features.shape[1], 4)), np.array([1, 0, 0, 0])]}
    # Learnt by heart: least squares to one-hot labels.
    for name, learnt in {
        "knowing": np.arange(len(labels)) % 4 > 0,
        "half": np.arange(len(labels)) % 2 > 0,
    }.items():
        kernel, *_ = np.linalg.lstsq(features[learnt], np.eye(4)[labels[learnt]] * 4, rcond=None)
        heads[name] = [kernel, np.zeros(4)]
    found = {}
    for name, weights in heads.items():
        head.set_weights(weights)
        artifact = new_artifact(standard_artifacts.Model)
        export_plainly(classifier, Path(path_utils.serving_model_dir(artifact.uri)))
        found[name] = Trained(artifact, model(images, training=False).numpy(), labels)
    return found


@pytest.fixture(scope="module")
def evaluate(
    config: Config,
    run_node: Any,
    examples: Any,
    models: dict[str, Trained],
    new_artifact: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Evaluated]:
    """Evaluates a model; beside what was evaluated before, if a folder is named."""

    def run(
        name: str,
        gate: GateSettings = ANYTHING,
        *,
        last: Any = None,
        best: Any = None,
        pushes: Any = None,
        beside: Path | None = None,
        size_mb: float = 17.0,
        latency_ms: float = 30.0,
    ) -> Evaluated:
        servable = new_artifact(standard_artifacts.InfraBlessing)
        servable.set_float_custom_property(SIZE_MB, size_mb)
        servable.set_float_custom_property(LATENCY_MS, latency_ms)
        inputs = {"examples": examples, "model": models[name].artifact, "servable": servable}
        given = {"baseline_model": last, "best_models": best, "best_pushes": pushes}
        inputs |= {key: artifact for key, artifact in given.items() if artifact is not None}
        folder = beside or tmp_path_factory.mktemp("evaluations")
        evaluation = standard_artifacts.ModelEvaluation()
        evaluation.uri = str(folder / str(len(list(folder.iterdir()))))
        Path(evaluation.uri).mkdir()
        outputs = run_node(
            "Evaluator",
            inputs,
            config=config.model_copy(update={"gate": gate}),
            outputs={"evaluation": evaluation},
        )
        return Evaluated(read_evaluation(evaluation.uri), outputs["blessing"], evaluation)

    return run


def test_the_figures_are_those_of_the_models_answers(
    evaluate: Callable[..., Evaluated],
    models: dict[str, Trained],
    config: Config,
    ingested: IngestResult,
) -> None:
    model = models["knowing"]
    assert 0.5 < model.right.mean() < 1
    evaluation = evaluate("knowing").evaluation
    confusion = np.zeros((4, 4), int)
    np.add.at(confusion, (model.labels, model.predicted), 1)
    assert evaluation.confusion == confusion.tolist()
    assert evaluation.photos == len(model.labels) == sum(ingested.counts["test"].values())
    assert evaluation.accuracy == pytest.approx(model.right.mean())
    assert evaluation.interval == pytest.approx(
        wilson_interval(model.right.mean(), len(model.labels))
    )
    likelihood = model.probabilities[np.arange(len(model.labels)), model.labels]
    assert evaluation.loss == pytest.approx(float(-np.log(likelihood).mean()), rel=1e-4)
    recall = np.diag(confusion) / confusion.sum(axis=1)
    assert evaluation.recall == pytest.approx(dict(zip(config.classes, recall, strict=True)))
    majority = max(ingested.counts["test"].values()) / len(model.labels)
    assert evaluation.majority == pytest.approx(majority)
    difference = sum(each.photos * abs(each.confidence - each.accuracy) for each in evaluation.bins)
    assert sum(each.photos for each in evaluation.bins) == evaluation.photos
    assert evaluation.calibration_error == pytest.approx(difference / evaluation.photos)
    assert (evaluation.last, evaluation.best) == ("this platform does not know it",) * 2


def test_slices_tell_how_the_model_does_on_some_of_the_photos(
    evaluate: Callable[..., Evaluated], models: dict[str, Trained], config: Config
) -> None:
    evaluation = evaluate("knowing").evaluation
    by = {each.by for each in evaluation.slices}
    assert by == {"class", "brightness", "shorter side", "subject"}
    for kind in by:
        slices = [each for each in evaluation.slices if each.by == kind]
        assert sum(each.photos for each in slices) == evaluation.photos
        right = sum(each.photos * each.accuracy for each in slices)
        assert right == pytest.approx(models["knowing"].right.sum())
    thirds = [each.name.split()[0] for each in evaluation.slices if each.by == "brightness"]
    assert thirds == ["at", "from", "over"]  # in the order of the values
    found = {each.name: each.accuracy for each in evaluation.slices if each.by == "class"}
    assert found == pytest.approx(evaluation.recall)


def test_two_models_are_compared_photo_by_photo(
    evaluate: Callable[..., Evaluated], models: dict[str, Trained]
) -> None:
    new, last, best = (models[name] for name in ("half", "guessing", "knowing"))
    evaluation = evaluate("half", last=last.artifact, best=best.artifact).evaluation
    for other, found in ((last, evaluation.last), (best, evaluation.best)):
        assert isinstance(found, Comparison)
        assert found.accuracy == pytest.approx(other.right.mean())
        assert found.gained == np.sum(new.right & ~other.right)
        assert found.lost == np.sum(~new.right & other.right)
    assert evaluation.others == 1


def test_of_the_versions_before_only_the_best_has_to_be_there_still(
    evaluate: Callable[..., Evaluated], models: dict[str, Trained], new_artifact: Any
) -> None:
    gone = new_artifact(standard_artifacts.Model)
    best = [models["knowing"].artifact, gone]
    pushes = [new_artifact(standard_artifacts.PushedModel) for _ in range(3)]
    evaluation = evaluate("half", best=best, pushes=pushes).evaluation
    assert evaluation.others == 3
    assert not isinstance(evaluation.best, str)


def test_of_how_many_versions_one_is_the_best_comes_with_its_copy(
    evaluate: Callable[..., Evaluated], models: dict[str, Trained], new_artifact: Any
) -> None:
    copied = new_artifact(standard_artifacts.Model)
    copied.uri = models["knowing"].artifact.uri
    copied.set_int_custom_property(OTHERS, 7)
    assert evaluate("half", best=copied).evaluation.others == 7


def test_a_model_that_passes_is_blessed_as_tfx_reads_it(
    evaluate: Callable[..., Evaluated], models: dict[str, Trained]
) -> None:
    done = evaluate("knowing", GateSettings(), last=models["guessing"].artifact)
    assert not done.failed
    assert done.evaluation.blessed
    assert done.blessed
    assert [file.name for file in Path(done.blessing.uri).iterdir()] == ["BLESSED"]
    model = models["knowing"].artifact
    assert done.blessing.get_string_custom_property("current_model") == model.uri
    for artifact in (done.blessing, done.artifact):
        assert artifact.get_float_custom_property("accuracy") == done.evaluation.accuracy
        assert artifact.get_float_custom_property("majority") == done.evaluation.majority
        assert artifact.get_float_custom_property("loss") == done.evaluation.loss
        assert artifact.get_float_custom_property("ece") == done.evaluation.calibration_error
        assert artifact.get_string_custom_property("verdict") == "passed"
        assert artifact.get_int_custom_property("test_looks") == 1


@pytest.mark.parametrize(
    ("name", "gate", "costs", "failed"),
    [
        ("guessing", GateSettings(error_rate=0), {}, "accuracy above the majority class"),
        ("half", ANYTHING, {"latency_ms": 1001.0}, "time for one photo"),
        ("half", ANYTHING, {"size_mb": 501.0}, "size of the model"),
        (
            "guessing",
            GateSettings(over_majority=-1, recall_floor=0, calibration_error=1),
            {},
            "not worse than the last pushed",
        ),
    ],
)
def test_a_model_that_fails_a_single_condition_is_not_blessed(
    evaluate: Callable[..., Evaluated],
    models: dict[str, Trained],
    name: str,
    gate: GateSettings,
    costs: dict[str, float],
    failed: str,
) -> None:
    done = evaluate(name, gate, last=models["knowing"].artifact, **costs)
    assert done.failed == {failed}
    assert not done.evaluation.blessed
    assert not done.blessed
    assert [file.name for file in Path(done.blessing.uri).iterdir()] == ["NOT_BLESSED"]
    assert done.artifact.get_string_custom_property("verdict") == f"blocked: {failed}"


def test_predictions_are_kept_with_the_photos(
    evaluate: Callable[..., Evaluated], models: dict[str, Trained], config: Config
) -> None:
    done = evaluate("knowing", last=models["half"].artifact)
    with (Path(done.artifact.uri) / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == done.evaluation.photos
    assert [row["filename"] for row in rows] == sorted(row["filename"] for row in rows)
    right = [row["label"] == row["predicted"] for row in rows]
    assert np.mean(right) == pytest.approx(done.evaluation.accuracy)
    for row in rows:
        probabilities = {name: float(row[f"p_{name}"]) for name in config.classes}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert max(probabilities, key=probabilities.__getitem__) == row["predicted"]
        assert row["last_predicted"] in config.classes
    assert json.loads((Path(done.artifact.uri) / "verdict.json").read_text())["blessed"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that are loaded to be asked."""
    loaded: list[str] = []
    load = tf.saved_model.load

    def noted(path: str) -> Any:
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(tf.saved_model, "load", noted)
    return loaded


def test_what_a_model_has_said_before_is_not_asked_again(
    evaluate: Callable[..., Evaluated],
    models: dict[str, Trained],
    asked: list[str],
    tmp_path: Path,
) -> None:
    first = evaluate("half", beside=tmp_path)
    asked.clear()
    second = evaluate("knowing", last=models["half"].artifact, beside=tmp_path)
    assert asked == [path_utils.serving_model_path(models["knowing"].artifact.uri)]
    asked.clear()
    apart = evaluate("knowing", last=models["half"].artifact)
    assert len(asked) == 2
    assert second.evaluation == replace(apart.evaluation, test_looks=2)
    asked.clear()
    again = evaluate("half", beside=tmp_path)
    assert not asked
    assert again.evaluation == replace(first.evaluation, test_looks=3)


def test_earlier_predictions_that_are_damaged_are_said_and_computed_anew(
    evaluate: Callable[..., Evaluated],
    asked: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = evaluate("half", beside=tmp_path)
    file = Path(first.artifact.uri) / "predictions.csv"
    file.write_text(file.read_text()[:500])
    asked.clear()
    again = evaluate("half", beside=tmp_path)
    assert len(asked) == 1
    assert again.evaluation == replace(first.evaluation, test_looks=2)
    assert f"{file} is missing or damaged" in capsys.readouterr().out


def test_evaluations_of_earlier_versions_of_this_code_count_as_looks(
    evaluate: Callable[..., Evaluated], tmp_path: Path
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "eval_config.json").write_text("{}")
    (tmp_path / "1").mkdir()  # failed before it had looked
    assert evaluate("half", beside=tmp_path).evaluation.test_looks == 2


def test_a_declared_absence_is_no_model_and_lost_files_are_an_error_that_names_the_fix(
    evaluate: Callable[..., Evaluated], new_artifact: Any
) -> None:
    none, gone = (new_artifact(standard_artifacts.Model) for _ in range(2))
    (Path(none.uri) / NO_BASELINE).touch()
    evaluation = evaluate("half", last=none, best=none).evaluation
    assert evaluation.last == "this pipeline has pushed none"
    assert evaluation.best == "no other version was pushed before"
    for given in ({"last": gone}, {"last": none, "best": gone}):
        with pytest.raises(ComponentError, match=f"{gone.uri}/Format-Serving is gone.*put it back"):
            evaluate("half", **given)


def test_a_model_of_other_classes_is_an_error(
    evaluate: Callable[..., Evaluated], config: Config, export_plainly: Any, new_artifact: Any
) -> None:
    other = new_artifact(standard_artifacts.Model)
    classifier = build_classifier(config.model, 5)
    export_plainly(classifier, Path(path_utils.serving_model_dir(other.uri)))
    with pytest.raises(ComponentError, match="knows 5 classes, but there are 4"):
        evaluate("half", last=other)


def test_a_model_of_an_earlier_version_says_less_and_is_compared_all_the_same(
    evaluate: Callable[..., Evaluated], models: dict[str, Trained], new_artifact: Any
) -> None:
    class Plain(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serving_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
            first = tf.constant([[0.4, 0.3, 0.2, 0.1]])
            return {"probabilities": tf.tile(first, [tf.size(examples), 1])}

    earlier = new_artifact(standard_artifacts.Model)
    module = Plain()
    folder = path_utils.serving_model_dir(earlier.uri)
    signatures = {"serving_examples": module.serving_examples}
    tf.saved_model.save(module, folder, signatures=signatures)
    last = evaluate("knowing", last=earlier).evaluation.last
    assert isinstance(last, Comparison)
    assert last.accuracy == pytest.approx((models["knowing"].labels == 0).mean())


def test_what_a_model_says_beyond_its_probabilities_is_kept(
    evaluate: Callable[..., Evaluated], tmp_path: Path, asked: list[str]
) -> None:
    first = evaluate("half", beside=tmp_path)
    asked.clear()
    again = evaluate("half", beside=tmp_path)
    assert not asked
    for done in (first, again):
        maps = np.load(Path(done.artifact.uri) / "maps.npy")
        assert maps.dtype == np.float16
        assert len(maps) == done.evaluation.photos
        assert maps.any()
        with (Path(done.artifact.uri) / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["certain"] for row in rows} == {"0"}
        assert {row["dog"] for row in rows} == {""}
