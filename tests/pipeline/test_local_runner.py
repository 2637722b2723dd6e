"""Runs that follow each other in one folder, after something has happened to what they rely on."""

import json
import shutil
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config

from components.errors import ComponentError
from components.evaluation.figures import Comparison
from components.training import tuning
from components.training.hyperparameters import current_values
from data import relabels, span_photos, spans
from data.contract.errors import Exit, UserError
from data.drawn_dogs import draw_dataset
from data.relabels import Relabel
from pipeline import code_hash
from pipeline.cli import main
from pipeline.report.comparison import compare
from pipeline.report.runs import read_run
from pipeline.summary import Summary
from pipeline.workdir import Workdir, WorkdirError
from serving.asking.pushed import find_version
from tests.pipeline.runs import ANY_MODEL, again, run_tiny

Run = Callable[..., Summary]

SETTINGS = (
    "model.weights=random",
    "training.frozen.epochs=1",
    "training.unfrozen.epochs=1",
    *ANY_MODEL,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    draw_dataset(folder, per_class=20, seed=0)
    return folder


@pytest.fixture(scope="module")
def run(photos: Path) -> Run:
    """A run with the tiny backbone in a folder."""

    def run(workdir: Path, *overrides: str) -> Summary:
        return run_tiny(workdir, photos, *SETTINGS, *overrides)

    return run


@pytest.fixture(scope="module")
def workdir(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One pushed model of seed 0, then one of seed 1."""
    folder = tmp_path_factory.mktemp("run")
    for seed in (0, 1):
        run(folder, f"training.seed={seed}")
    return folder


def contents(version: Path) -> dict[str, bytes]:
    return {
        file.relative_to(version).as_posix(): file.read_bytes()
        for file in version.rglob("*")
        if file.is_file()
    }


def test_a_model_from_the_cache_is_compared_with_the_last_and_becomes_the_newest(
    run: Run, workdir: Path
) -> None:
    serving = Workdir(workdir).serving
    first, second = sorted(serving.iterdir())
    summary = run(workdir, "training.seed=0")
    assert again(summary) == {
        "EarlierStatistics",
        "LastPushedModel",
        "BestPushedModel",
        "Evaluator",
        "Report",
        "Pusher",
    }
    assert summary.model == find_version(serving)
    assert summary.model not in (first, second)
    assert contents(summary.model) == contents(first)
    # The model pushed last is that of seed 0, though the Model of seed 1 has the higher id.
    before = summary.evaluation.accuracy
    after = run(workdir, "training.seed=1")
    assert isinstance(after.evaluation.last, Comparison)
    assert after.evaluation.last.accuracy == pytest.approx(before)
    assert after.model == find_version(serving)
    assert contents(after.model) == contents(second)


def test_two_versions_of_one_folder_are_compared(workdir: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted(Workdir(workdir).serving.iterdir())
    before, after = read_run(first), read_run(second)
    assert before.settings["training"]["seed"] == 0
    assert after.settings["training"]["seed"] == 1
    assert (before.pushed, after.pushed) == (first.name, second.name)
    assert before.code == after.code
    assert {"Transform", "Trainer", "Evaluator", "Report"} <= before.code.keys()
    assert before.manifest_sha256 == after.manifest_sha256 != ""
    assert before.photos is not None
    assert {*before.predictions.photos} == {
        sha256 for (sha256, _), photo in before.photos.items() if photo.split == "test"
    }
    compare(first, second, tmp_path / "comparison.html")
    page = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "training.seed" in page
    assert "not at hand" not in page


def test_where_versions_and_a_photo_came_from_is_told(
    workdir: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*arguments: str) -> Any:
        assert main([*arguments, "--json", "--workdir", str(workdir)]) == Exit.DONE
        return json.loads(capsys.readouterr().out)

    capsys.readouterr()
    versions = [version.name for version in sorted(Workdir(workdir).serving.iterdir())]
    runs = ask("history")
    assert [run["version"] for run in runs] == versions
    assert [run["served_now"] for run in runs] == [False] * (len(runs) - 1) + [True]
    assert all(low <= run["accuracy"] <= high for run in runs for low, high in [run["interval"]])
    origin = ask("why", versions[1])
    assert origin["baseline"] == versions[0]
    assert origin["figures"]["accuracy"] == pytest.approx(runs[1]["accuracy"])
    assert origin["settings"]["training"]["seed"] == 1
    assert {"ActivationCache", "Trainer", "Evaluator"} <= origin["code"].keys()
    assert (origin["span"]["number"], origin["span"]["now"]) == (1, "unchanged")
    rows = list(span_photos.read_table(Workdir(workdir).data / "span-1"))
    name, label = next((row[0], row[1]) for row in rows if row[2] == "train")
    photo = ask("why", str(photos / name))
    (sighting,) = photo["sightings"]
    assert (sighting["label"], sighting["split"]) == (label, "train")
    assert sighting["versions"] == versions
    assert [each["version"] for each in photo["opinions"]] == versions[::-1]
    assert all(
        sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        for each in photo["opinions"]
    )
    training = {row[5]: [row[0], row[1]] for row in rows if row[2] == "train"}
    assert len(photo["nearest"]) == 3
    for each in photo["nearest"]:
        assert training[each["sha256"]] == [each["filename"], each["label"]]
        assert each["sha256"] != photo["sha256"]


def test_a_folder_stands_for_the_last_run_and_its_report_tells_what_the_nodes_took(
    run: Run, workdir: Path
) -> None:
    summary = run(workdir)
    last = read_run(workdir)
    assert last.evaluation == summary.evaluation
    page = Workdir(workdir).report.read_text(encoding="utf-8")
    assert all(f"<th>{node['node']}</th>" in page for node in summary.nodes)
    assert all(node["peak_mb"] > 100 for node in summary.nodes)
    assert str(summary.model) in page
    with pytest.raises(UserError, match="9 is no folder of a run, nor a version"):
        read_run(Workdir(workdir).serving / "9")
    (Workdir(workdir).serving / "9").mkdir()
    with pytest.raises(UserError, match="no run in that folder is known to have pushed it"):
        read_run(Workdir(workdir).serving / "9")
    (Workdir(workdir).serving / "9").rmdir()


def test_nothing_new_runs_nothing_and_pushes_nothing(run: Run, workdir: Path) -> None:
    run(workdir)
    run(workdir)  # is compared with itself
    served = sorted(Workdir(workdir).serving.iterdir())
    assert again(run(workdir)) == {
        "EarlierStatistics",
        "LastPushedModel",
        "BestPushedModel",
        "Pusher",
    }
    assert sorted(Workdir(workdir).serving.iterdir()) == served


def test_the_store_says_which_decisions_about_labels_were_honoured(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_dataset(photos, per_class=24, seed=0)
    decided = tmp_path / "relabels.csv"
    photo = next((photos / "happy").glob("*.jpg"))
    relabels.append(decided, Relabel(spans.hash_file(photo), "happy", "sad", "", datetime.now(UTC)))
    workdir = Workdir(tmp_path / "run")
    run_tiny(workdir.root, photos, *SETTINGS, f"data.relabels={decided}")
    with Metadata(sqlite_metadata_connection_config(str(workdir.metadata))) as metadata:
        (newest,) = metadata.store.get_contexts_by_type("pipeline_run")
    properties = newest.custom_properties
    assert properties["span"].int_value == 1
    assert properties["relabelled"].int_value == 1
    assert properties["relabels_sha256"].string_value == spans.hash_file(decided)
    manifest = workdir.data / "span-1" / "manifest.json"
    assert properties["manifest_sha256"].string_value == spans.hash_file(manifest)


def test_versions_that_were_deleted_are_pushed_again(run: Run, workdir: Path) -> None:
    before = run(workdir)
    assert before.model is not None
    held = contents(before.model)
    shutil.rmtree(Workdir(workdir).serving)
    summary = run(workdir)
    assert summary.model is not None
    assert contents(summary.model) == held
    assert "Trainer" not in again(summary)


def test_a_baseline_whose_files_are_gone_stops_the_run_before_anything_is_blessed(
    run: Run, workdir: Path, tmp_path: Path
) -> None:
    run(workdir)
    served = sorted(Workdir(workdir).serving.iterdir())
    models = workdir / "pipeline" / "Trainer" / "model"
    kept = tmp_path / "model"
    shutil.move(models, kept)
    with pytest.raises(ComponentError, match="is gone, a model that was pushed"):
        run(workdir, "training.seed=2")
    assert sorted(Workdir(workdir).serving.iterdir()) == served
    shutil.copytree(kept, models, dirs_exist_ok=True)
    summary = run(workdir, "training.seed=2")
    assert "Trainer" not in again(summary)


@pytest.mark.parametrize(
    ("module", "nodes"),
    [
        ("components/evaluation/gate.py", {"Evaluator"}),
        ("components/nodes/schema.py", {"CuratedSchema"}),
        ("components/nodes/data_gate.py", {"DataGate"}),
        ("components/nodes/distributions.py", {"DriftValidator", "DataGate"}),
    ],
)
def test_nodes_whose_code_was_edited_run_again(
    run: Run,
    workdir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    nodes: set[str],
) -> None:
    for room in ("components", "data", "serving"):
        shutil.copytree(code_hash.ROOT / room, tmp_path / room)
    for _ in range(2):  # what is pushed is compared with itself in the next run
        run(workdir)
    monkeypatch.setattr(code_hash, "ROOT", tmp_path)
    assert not again(run(workdir)) & nodes
    with (tmp_path / module).open("a") as source:
        source.write("# edited\n")
    assert again(run(workdir)) >= nodes


def test_a_model_that_has_lost_half_of_its_weights_is_not_pushed(run: Run, workdir: Path) -> None:
    before = run(workdir)
    served = sorted(Workdir(workdir).serving.iterdir())
    whole = {
        file: file.read_bytes() for file in workdir.glob("pipeline/Trainer/model/*/*/*/*.data-*")
    }
    for file, content in whole.items():
        file.write_bytes(content[: len(content) // 2])
    with pytest.raises(WorkdirError, match=r"variables\.data-.* is missing or damaged"):
        run(workdir)
    assert sorted(Workdir(workdir).serving.iterdir()) == served
    for file, content in whole.items():
        file.write_bytes(content)
    assert run(workdir).model == before.model


def test_a_warm_start_goes_on_from_the_model_that_was_pushed_last(run: Run, tmp_path: Path) -> None:
    cold = run(tmp_path / "run", "training.warm_start=true").training
    assert [phase["name"] for phase in cold["phases"]] == ["frozen", "unfrozen"]
    rate = "training.unfrozen.learning_rate=1e-12"
    warm = run(tmp_path / "run", "training.warm_start=true", rate).training
    (phase,) = warm["phases"]
    assert phase["name"] == "unfrozen"
    (pushed,) = (each for each in cold["phases"] if each["name"] == cold["exported_phase"])
    assert phase["val"] == pytest.approx(pushed["val"], rel=1e-3)


def test_a_search_that_was_interrupted_starts_over_and_what_it_finds_stays_found(
    run: Run,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    folder, tune = tmp_path / "run", "training.tune=true"
    with monkeypatch.context() as patches:
        patches.setattr(tuning, "train_in_phases", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(folder, tune)
    assert not Workdir(folder).tuned.exists()

    first = run(folder, tune)
    assert {"Tuner", "Trainer"} <= again(first)
    assert "ActivationCache" not in again(first)
    tuned = first.training["tuned"]
    found = Workdir(folder).tuned.read_text()
    assert current_values(tomllib.loads(found)) == tuned
    assert first.tuned == found
    settings = read_run(folder).settings
    assert current_values(settings) == tuned

    capsys.readouterr()
    options = [f"--set={setting}" for setting in SETTINGS]
    places = [f"--photos={photos}", f"--workdir={folder}"]
    assert main(["run", "--profile=tiny", *options, *places, "--tune"]) == 0
    output = capsys.readouterr().out
    assert "tuning:" not in output
    assert f"tuned     {folder / 'tuned.toml'}, for --config:\n\n{found}\n" in output
    nodes = json.loads(Workdir(folder).metrics.read_text())["nodes"]
    cached = {row["node"] for row in nodes if row["cached"]}
    assert {"Tuner", "Trainer"} <= cached

    given = (f"{name}={json.dumps(value)}" for name, value in tuned.items())
    plain = run(folder, *given)
    assert plain.tuned is None
    assert Workdir(folder).tuned.read_text() == found
    assert [phase["val"] for phase in plain.training["phases"]] == [
        pytest.approx(phase["val"], rel=1e-3) for phase in first.training["phases"]
    ]
