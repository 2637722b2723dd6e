"""The embedded default, as a stranger runs it: drawn dogs to a pushed model that is asked.

Then the same with a head that has learnt nothing: the gate must know the difference.
"""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.contract.model import MODEL_NAME
from serving.embedded.config_files import ModelConfig
from tests.serving.conftest import serving, wait_for

Result = subprocess.CompletedProcess[str]
Command = Callable[..., Result]

CLASSES = ["angry", "happy", "relaxed", "sad"]
NODES = [
    "ImportExampleGen",
    "StatisticsGen",
    "CuratedSchema",
    "ExampleValidator",
    "EarlierStatistics",
    "DriftValidator",
    "DataGate",
    "Transform",
    "ActivationCache",
    "Trainer",
    "Curves",
    "Report",
    "ServableGate",
    "LastPushedModel",
    "BestPushedModel",
    "Evaluator",
    "Pusher",
]
CONDITIONS = [
    "accuracy above the majority class",
    "recall of each class",
    "calibration error",
    "size of the model",
    "time for one photo",
    "not worse than the last pushed",
    "not worse than the best before",
]
UNTRAINED = (
    "--set=training.frozen.solver=adam",
    "--set=training.frozen.epochs=1",
    "--set=training.frozen.learning_rate=1e-9",
    "--set=training.unfrozen.epochs=0",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's current folder, with a file of theirs where the run will be."""
    home = tmp_path_factory.mktemp("home")
    (home / "runs" / "demo").mkdir(parents=True)
    (home / "runs" / "demo" / "notes.txt").write_text("mine")
    return home


@pytest.fixture(scope="module")
def demo(run: Command, home: Path) -> Result:
    """The one real run; the tests of this module go on from what it leaves."""
    return run("run", cwd=home)


@pytest.fixture(scope="module")
def metrics(demo: Result, workdir: Path) -> Any:
    """The figures of the real run."""
    assert demo.returncode == 0, demo.stderr
    return json.loads((workdir / "metrics.json").read_text())


@pytest.fixture(scope="module")
def workdir(home: Path) -> Path:
    return home / "runs" / "demo"


@pytest.fixture(scope="module")
def broken(home: Path, metrics: Any, workdir: Path) -> Path:
    """The first bytes of a photo."""
    photo = next((workdir / "drawn" / "sad").glob("*.jpg"))
    (home / "broken.jpg").write_bytes(photo.read_bytes()[:300])
    return home / "broken.jpg"


@pytest.fixture(scope="module")
def photos(metrics: Any, workdir: Path, home: Path) -> dict[str, str]:
    """Two drawn dogs of each emotion, and the emotion."""
    return {
        str(photo.relative_to(home)): label
        for label in CLASSES
        for photo in sorted((workdir / "drawn" / label).glob("*.jpg"))[:2]
    }


def versions(workdir: Path) -> list[Path]:
    return sorted((workdir / "serving" / "dog_emotion").iterdir())


def test_a_run_ends_well_and_the_terminal_shows_no_chatter_of_libraries(
    demo: Result,
) -> None:
    assert demo.stderr == ""
    assert demo.returncode == 0


def test_it_says_what_it_works_with(demo: Result, workdir: Path) -> None:
    assert f"workdir   {workdir}" in demo.stdout
    assert "backbone  efficientnet_lite0, weights imagenet" in demo.stdout
    assert "cannot be reached for the weights of efficientnet_b0" in demo.stdout
    assert "drawn dog faces, not photographs" in demo.stdout


def test_it_names_every_node_when_it_starts(demo: Result) -> None:
    started = [line for line in demo.stdout.splitlines() if line.startswith("[")]
    assert [line.split("]")[0] for line in started] == [
        f"[{n:2}/{len(NODES)}" for n in range(1, len(NODES) + 1)
    ]
    assert sorted(line.split("] ")[1] for line in started) == sorted(NODES)


@pytest.mark.parametrize(
    "heading",
    [
        "phase       train acc    loss    val acc    loss   best epoch",
        "actual / predicted ",
        "node                   seconds   CPU s",
        "gate                                           limit    measured",
    ],
)
def test_it_ends_with_tables(demo: Result, heading: str) -> None:
    assert [line for line in demo.stdout.splitlines() if line.startswith(heading)]


def test_it_ends_with_the_command_to_predict(demo: Result, workdir: Path) -> None:
    (version,) = versions(workdir)
    assert f"model     {version}" in demo.stdout
    last = demo.stdout.splitlines()[-1]
    assert last == f"predict   dog-emotion predict --model {version} PHOTO"


def test_the_model_has_learnt_the_drawn_emotions(metrics: Any) -> None:
    assert metrics["test"]["accuracy"] > 0.7
    assert metrics["test"]["majority"] < 0.5


def test_the_accuracy_is_the_share_of_the_confusion_matrix_that_is_right(metrics: Any) -> None:
    test = metrics["test"]
    confusion = np.array(test["confusion"])
    assert confusion.sum() == test["photos"]
    assert test["accuracy"] == pytest.approx(confusion.trace() / test["photos"], abs=1e-6)
    assert test["majority"] == pytest.approx(confusion.sum(axis=1).max() / test["photos"])
    low, high = test["interval"]
    assert low <= test["accuracy"] <= high
    assert [test["recall"][name] for name in metrics["classes"]] == pytest.approx(
        (confusion.diagonal() / confusion.sum(axis=1)).tolist(), abs=1e-6
    )


def test_the_exported_phase_is_the_one_with_the_lowest_validation_loss(metrics: Any) -> None:
    losses = {phase["name"]: phase["val"]["loss"] for phase in metrics["training"]["phases"]}
    assert list(losses) == ["frozen", "unfrozen"]
    assert metrics["training"]["exported_phase"] == min(losses, key=lambda name: losses[name])


def test_the_splits_add_up_to_the_drawn_photos(metrics: Any, workdir: Path, demo: Result) -> None:
    counts = json.loads((workdir / "data" / "span-1" / "manifest.json").read_text())["counts"]
    assert sum(sum(split.values()) for split in counts.values()) == 4 * 60
    assert metrics["training"]["train_photos"] == counts["train"]
    assert metrics["test"]["photos"] == sum(counts["test"].values())
    assert "; 0 rejected, 0 in conflict left out" in demo.stdout


def test_the_gate_says_of_every_condition_that_it_passed(metrics: Any, demo: Result) -> None:
    conditions = metrics["test"]["conditions"]
    assert [each["name"] for each in conditions] == CONDITIONS
    assert all(each["passed"] for each in conditions)
    assert metrics["test"]["blessed"]
    above, *_, last, best = conditions
    assert above["limit"] == metrics["test"]["majority"]
    assert above["measured"] == metrics["test"]["interval"][0]
    assert last["limit"] is best["limit"] is None
    rows = {line[:34].strip(): line[34:].split() for line in demo.stdout.splitlines()}
    for name in CONDITIONS:
        assert rows[name][-1] == "passed"


def test_every_node_has_its_time_and_none_was_cached(metrics: Any) -> None:
    assert sorted(row["node"] for row in metrics["nodes"]) == sorted(NODES)
    assert not [row for row in metrics["nodes"] if row["cached"]]
    assert all(row["seconds"] >= 0 and row["cpu_seconds"] >= 0 for row in metrics["nodes"])


def test_the_curves_are_a_picture_with_something_on_it(metrics: Any, workdir: Path) -> None:
    picture = cv2.imread(str(workdir / "curves.png"))
    assert picture is not None
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 10
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_the_stored_configuration_holds_what_was_resolved(metrics: Any, workdir: Path) -> None:
    config = json.loads((workdir / "config.json").read_text())
    assert config["model"]["backbone"] == "efficientnet_lite0"
    assert config["model"]["weights"] == "imagenet"
    assert config["classes"] == CLASSES


def test_there_is_one_complete_version_and_nothing_beside_it(metrics: Any, workdir: Path) -> None:
    (version,) = versions(workdir)
    assert version.name.isdecimal()
    assert metrics["model"] == str(version)
    assert (version / "saved_model.pb").is_file()
    assert (version / "variables" / "variables.index").is_file()


def test_nothing_half_done_is_left(metrics: Any, workdir: Path) -> None:
    left = [
        path
        for path in workdir.rglob("*")
        if path.suffix == ".tmp" or path.name in ("unfinished", ".unfinished")
        if not path.is_dir() or list(path.iterdir())
    ]
    assert not left


def test_files_of_the_user_are_left_alone(metrics: Any, workdir: Path, home: Path) -> None:
    assert (workdir / "notes.txt").read_text() == "mine"
    assert [path.name for path in home.iterdir()] == ["runs"]


def test_the_chatter_is_kept_in_the_log(metrics: Any, workdir: Path) -> None:
    assert "Component Trainer is finished." in (workdir / "run.log").read_text()


def test_the_model_artifact_says_where_its_weights_come_from(metrics: Any, workdir: Path) -> None:
    (model,) = store(workdir).get_artifacts_by_type("Model")
    said = {key: model.custom_properties[key].string_value for key in model.custom_properties}
    assert said["backbone"] == "efficientnet_lite0"
    assert said["weights_source"] == "efficientnet-lite0-57934424.pth"
    assert len(bytes.fromhex(said["weights_sha256"])) == 32
    assert metrics["training"]["weights"] == {
        "source": said["weights_source"],
        "sha256": said["weights_sha256"],
    }


def store(workdir: Path) -> MetadataStore:
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(workdir / "metadata.sqlite")
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READONLY
    return MetadataStore(connection)


@pytest.fixture(scope="module")
def asked(run: Command, home: Path, photos: dict[str, str], broken: Path) -> Result:
    """The answer, as JSON, of the newest model under runs/ for photos, one of which is broken."""
    return run("predict", *photos, broken.name, "--json", "--plot", "figure.png", cwd=home)


def test_predict_answers_for_each_photo_in_json(asked: Result, photos: dict[str, str]) -> None:
    answers = json.loads(asked.stdout)
    assert [answer["photo"] for answer in answers] == [*photos, "broken.jpg"]
    for answer in answers[:-1]:
        assert set(answer) == {"photo", "label", "probabilities", "certain", "dog"}
        assert list(answer["probabilities"]) == CLASSES
        assert math.isclose(sum(answer["probabilities"].values()), 1, abs_tol=1e-5)
        assert answer["label"] == max(CLASSES, key=answer["probabilities"].__getitem__)


def test_predict_recognizes_the_drawn_emotions(asked: Result, photos: dict[str, str]) -> None:
    said = {answer["photo"]: answer.get("label") for answer in json.loads(asked.stdout)}
    right = [photo for photo, label in photos.items() if said[photo] == label]
    assert len(right) >= 0.7 * len(photos)


def test_one_broken_photo_is_reported_and_is_1(asked: Result) -> None:
    assert json.loads(asked.stdout)[-1] == {"photo": "broken.jpg", "error": "truncated or damaged"}
    assert asked.returncode == 1
    assert asked.stderr == ""


def test_a_server_of_the_pushed_model_answers_the_same(
    asked: Result, photos: dict[str, str], workdir: Path, run: Command, home: Path
) -> None:
    with serving(ModelConfig(MODEL_NAME, workdir / "serving" / MODEL_NAME)) as client:
        (version,) = (int(folder.name) for folder in versions(workdir))
        wait_for(lambda: client.states(MODEL_NAME) == {version: "AVAILABLE"})
        shown = run("predict", "--json", "--url", client.url, *photos, cwd=home)
    assert shown.returncode == 0, shown.stderr
    here = [each for each in json.loads(asked.stdout) if "label" in each]
    for ours, served in zip(here, json.loads(shown.stdout), strict=True):
        assert served["label"] == ours["label"]
        assert served["probabilities"] == pytest.approx(ours["probabilities"], abs=1e-5)


def test_predict_draws_a_figure(asked: Result, home: Path) -> None:
    assert asked.returncode == 1
    figure = cv2.imread(str(home / "figure.png"))
    assert figure is not None
    assert min(figure.shape[:2]) > 300
    assert figure.std() > 10


def test_predict_in_words_from_elsewhere_says_the_same(
    run: Command,
    asked: Result,
    photos: dict[str, str],
    home: Path,
    workdir: Path,
    tmp_path: Path,
) -> None:
    """From another folder, with the model and the photo named, and without our source."""
    (photo, *_) = photos
    (expected, *_) = json.loads(asked.stdout)
    said = run(
        "predict",
        str(home / photo),
        "--model",
        str(workdir / "serving" / "dog_emotion"),
        cwd=tmp_path,
    )
    assert (said.returncode, said.stderr) == (0, "")
    first, *bars = said.stdout.splitlines()
    words = "not sure" if not expected["certain"] else expected["label"]
    assert first == f"{home / photo}: {words if expected['dog'] >= 0.5 else 'no dog here'}"
    shares = {name: float(share.rstrip("%")) / 100 for name, share, *_ in map(str.split, bars)}
    assert shares == pytest.approx(expected["probabilities"], abs=0.001)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def pushed(
    asked: Result, workdir: Path, snapshot: Callable[[Path], dict[str, str]]
) -> dict[str, str]:
    """The bytes of the good model, before worse ones come."""
    return snapshot(workdir / "serving")


@pytest.fixture(scope="module")
def blocked(run: Command, home: Path, pushed: dict[str, str]) -> Result:
    """A second run, of a head that has learnt nothing."""
    return run("run", *UNTRAINED, cwd=home)


def test_an_untrained_head_is_blocked_by_the_gate(blocked: Result, workdir: Path) -> None:
    assert blocked.returncode == 3
    assert blocked.stderr == "dog-emotion: the gate blocked the model; nothing was pushed\n"
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics["model"] is None
    assert not metrics["test"]["blessed"]
    assert metrics["test"]["accuracy"] < 0.5
    assert [phase["name"] for phase in metrics["training"]["phases"]] == ["frozen"]


def failed(shown: Result) -> list[str]:
    return [line for line in shown.stdout.splitlines() if "   FAILED" in line]


def test_a_table_says_which_conditions_failed_with_their_numbers(
    blocked: Result, metrics: Any
) -> None:
    names = {row[:34].strip() for row in failed(blocked)}
    assert names >= {"accuracy above the majority class", "not worse than the last pushed"}
    (last,) = (row for row in failed(blocked) if row.startswith("not worse than the last pushed"))
    *_, limit, measured, _ = last.split()
    assert float(measured) < float(limit) < 0
    assert f"from {metrics['test']['accuracy']:.3f}: " in blocked.stdout
    assert "would have been caught" in " ".join(blocked.stdout.split())


def test_nothing_is_pushed_and_the_good_model_keeps_its_bytes(
    blocked: Result,
    workdir: Path,
    pushed: dict[str, str],
    snapshot: Callable[[Path], dict[str, str]],
) -> None:
    assert blocked.returncode == 3
    assert snapshot(workdir / "serving") == pushed
    assert "\nmodel  " not in blocked.stdout
    assert "\npredict  " not in blocked.stdout


def test_the_backbone_is_that_of_the_run_before(blocked: Result) -> None:
    assert "backbone  efficientnet_lite0, weights imagenet (as in the run before)" in blocked.stdout


def test_the_verdict_of_the_cache_is_3_as_well(
    run: Command,
    blocked: Result,
    home: Path,
    workdir: Path,
    pushed: dict[str, str],
    snapshot: Callable[[Path], dict[str, str]],
) -> None:
    again = run("run", *UNTRAINED, cwd=home)
    assert again.returncode == 3
    assert again.stderr == blocked.stderr
    assert failed(again) == failed(blocked)
    cached = {
        row["node"]: row["cached"]
        for row in json.loads((workdir / "metrics.json").read_text())["nodes"]
    }
    assert cached["Trainer"]
    assert cached["Evaluator"]
    assert snapshot(workdir / "serving") == pushed
