"""Runs in one folder whose photos change: which of them the data gate stops, and before what."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from PIL import Image, ImageEnhance

from components.errors import ComponentError
from data import spans
from data.contract import features
from data.contract.features import BRIGHTNESS, HEIGHT, LABEL, WIDTH
from data.drawn_dogs import draw_dataset
from data.errors import DataError
from pipeline.config import load_config
from pipeline.local_runner import run_locally
from pipeline.summary import Summary, as_metrics, as_text
from pipeline.workdir import Workdir
from tests.pipeline.runs import ANY_MODEL, again, run_tiny

Run = Callable[..., Summary]

SETTINGS = (
    "model.weights=random",
    "training.augmentation.mode=cached",
    "training.frozen.epochs=1",
    "training.unfrozen.epochs=0",
    *ANY_MODEL,
)
REASON = "night walks were asked for"
WAIVED = f'data_gate.waivers=[{{check="drift", feature="{BRIGHTNESS}", reason="{REASON}"}}]'


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    draw_dataset(folder, per_class=40, seed=0)
    return folder


@pytest.fixture(scope="module")
def dark(photos: Path) -> Path:
    return changed(photos, "dark", brightness=0.4)


@pytest.fixture(scope="module")
def small(photos: Path) -> Path:
    return changed(photos, "small", size=0.5)


@pytest.fixture(scope="module")
def uneven(photos: Path) -> Path:
    """Most of them are of one class."""
    more = photos.parent / "more"
    draw_dataset(more, per_class=160, seed=1)
    folder = photos.parent / "uneven"
    shutil.copytree(photos, folder)
    for file in (more / "angry").iterdir():
        shutil.copy(file, folder / "angry" / f"more-{file.name}")
    return folder


def changed(photos: Path, name: str, *, brightness: float = 1, size: float = 1) -> Path:
    """Copies of the photos, darker or smaller, in a folder beside them."""
    folder = photos.parent / name
    for file in photos.glob("*/*"):
        (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
        with Image.open(file) as photo:
            other = photo.resize((round(photo.width * size), round(photo.height * size)))
            ImageEnhance.Brightness(other).enhance(brightness).save(
                folder / file.parent.name / file.name
            )
    return folder


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def run(workdir: Path) -> Run:
    """A run with the tiny backbone, always in the same folder."""

    def run(photos: Path, *overrides: str) -> Summary:
        return run_tiny(workdir, photos, *SETTINGS, *overrides)

    return run


@pytest.fixture(scope="module")
def first(run: Run, photos: Path) -> Summary:
    return run(photos)


@pytest.fixture(scope="module")
def waived(run: Run, first: Summary, dark: Path) -> Summary:
    return run(dark, WAIVED)


def stopped(run: Run, photos: Path, *overrides: str) -> str:
    """The message of a run that the gate stops: always one line."""
    with pytest.raises(ComponentError, match="the data gate stops the run: ") as caught:
        run(photos, *overrides)
    (line,) = str(caught.value).splitlines()
    return line


def store(workdir: Path) -> MetadataStore:
    connection = mlmd.ConnectionConfig()
    connection.sqlite.filename_uri = str(workdir / "metadata.sqlite")
    connection.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READONLY
    return MetadataStore(connection)


def nodes_of_newest_run(workdir: Path) -> set[str]:
    metadata = store(workdir)
    newest = max(context.id for context in metadata.get_contexts_by_type("pipeline_run"))
    return {each.type.split(".")[-1] for each in metadata.get_executions_by_context(newest)}


def test_the_first_span_passes_and_says_that_there_is_nothing_to_compare_with(
    first: Summary,
) -> None:
    checks = {check.kind: check for check in first.data_checks}
    assert len(checks) == len(first.data_checks)
    assert checks["anomaly"].measured == 0
    assert "no earlier span" in checks["drift"].remark
    assert "data_gate.served names no photos" in checks["skew"].remark
    assert "data gate" in as_text(first)
    assert "no earlier span" in as_text(first)


@pytest.mark.parametrize(
    ("other", "found", "fix"),
    [
        ("dark", {BRIGHTNESS}, "data_gate.limits.brightness"),
        ("small", {WIDTH, HEIGHT}, "data_gate.limits.width"),
        ("uneven", {LABEL}, "data_gate.limits.label"),
    ],
)
def test_drift_stops_the_run_before_anything_is_learnt(
    run: Run,
    first: Summary,
    workdir: Path,
    request: pytest.FixtureRequest,
    other: str,
    found: set[str],
    fix: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = stopped(run, request.getfixturevalue(other))
    assert {each for each in features.ALL if f"drift of {each}: " in message} == found
    assert ", limit 0." in message
    assert "of span 1)" in message or "of span 1, most of all angry)" in message
    assert fix in message
    assert "reason=" in message
    ran = nodes_of_newest_run(workdir)
    assert "DataGate" in ran
    assert "Transform" not in ran
    failed = {line.split()[1] for line in capsys.readouterr().out.splitlines() if "FAILED" in line}
    assert failed == found


def test_the_store_says_what_a_run_read_that_was_stopped(
    run: Run, first: Summary, small: Path, workdir: Path
) -> None:
    stopped(run, small)
    newest = max(store(workdir).get_contexts_by_type("pipeline_run"), key=lambda each: each.id)
    span = spans.find_newest(workdir / "data")
    assert span is not None
    manifest = spans.hash_file(span / spans.MANIFEST)
    assert newest.custom_properties["span"].int_value == spans.read_number(span)
    assert newest.custom_properties["manifest_sha256"].string_value == manifest


def test_the_same_photos_are_stopped_again(run: Run, first: Summary, dark: Path) -> None:
    """What was stopped is no measure for what comes after it."""
    assert BRIGHTNESS in stopped(run, dark)
    assert BRIGHTNESS in stopped(run, dark)


def test_a_waiver_lets_the_finding_pass_and_is_recorded(waived: Summary, workdir: Path) -> None:
    (check,) = (check for check in waived.data_checks if check.waiver)
    assert (check.kind, check.feature, check.waiver) == ("drift", BRIGHTNESS, REASON)
    assert check.measured is not None
    assert check.limit is not None
    assert check.measured > check.limit
    assert f"waived   ({REASON})" in as_text(waived)
    assert REASON in json.dumps(as_metrics(waived)["data"])
    recorded = [
        json.loads(artifact.custom_properties["waived"].string_value)
        for artifact in store(workdir).get_artifacts_by_type("ExampleAnomalies")
        if "waived" in artifact.custom_properties
    ]
    assert [{"check": "drift", "feature": BRIGHTNESS, "reason": REASON}] in recorded


def test_an_unchanged_second_run_is_taken_from_the_cache(
    run: Run,
    waived: Summary,
    dark: Path,
) -> None:
    resolved_anew = {"BestPushedModel", "EarlierStatistics", "LastPushedModel", "Pusher"}
    run(dark, WAIVED)  # other photos were the last in this folder, so these are another span
    run(dark, WAIVED)  # the model that was pushed is now compared with itself
    summary = run(dark, WAIVED)
    assert again(summary) == resolved_anew
    assert summary.data_checks == waived.data_checks


def test_a_waiver_of_something_else_does_not_help_and_one_too_many_is_said(
    run: Run, waived: Summary, dark: Path, uneven: Path
) -> None:
    assert LABEL in stopped(run, uneven, WAIVED)
    needless = WAIVED.replace("]", f', {{check="skew", feature="{LABEL}", reason="who knows"}}]')
    assert "waiver not needed: skew of image/class/text (who knows)" in as_text(run(dark, needless))


@pytest.fixture(scope="module")
def skewed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in another folder, whose photos are always the same; given are those that were served.

    Stopped at first, its span is never compared with an earlier one.
    """
    folder = Workdir(tmp_path_factory.mktemp("skewed"))

    def run(served: Path) -> Summary:
        settings = (*SETTINGS, f"data_gate.served={served}")
        with folder.locked():
            return run_locally(load_config("tiny", overrides=settings), folder, photos)

    return run


@pytest.mark.parametrize(("other", "found"), [("dark", {BRIGHTNESS}), ("small", {WIDTH, HEIGHT})])
def test_photos_served_unlike_those_trained_on_stop_the_run(
    skewed: Run, request: pytest.FixtureRequest, other: str, found: set[str]
) -> None:
    message = stopped(skewed, request.getfixturevalue(other))
    assert {each for each in features.ALL if f"skew of {each}: " in message} == found
    assert "160 photos against " in message
    assert " trained on)" in message


def test_so_do_answers_in_other_shares(skewed: Run, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    rows = [f"{file},{label}" for file, label in zip(photos.glob("*/*"), "ab" * 80, strict=True)]
    rows = [row.replace(",a", ",angry").replace(",b", ",sad") for row in rows]
    table.write_text("\n".join(["path,label", *rows]))
    message = stopped(skewed, table)
    assert {each for each in features.ALL if f"skew of {each}: " in message} == {LABEL}


def test_photos_served_that_are_alike_pass(skewed: Run, photos: Path, tmp_path: Path) -> None:
    for number, file in enumerate(photos.glob("*/*")):
        folder = tmp_path / f"day-{number % 3}" / "requests"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder)
    (tmp_path / "notes.txt").write_text("no photo")
    summary = skewed(tmp_path)
    skew = {check.feature: check for check in summary.data_checks if check.kind == "skew"}
    assert skew.keys() == {BRIGHTNESS, WIDTH, HEIGHT}
    assert all(check.within and check.measured is not None for check in skew.values())


def test_photos_served_that_are_not_there_are_named(skewed: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no photos at .*gone: there is no such folder"):
        skewed(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(DataError, match="no usable photo in"):
        skewed(tmp_path)
