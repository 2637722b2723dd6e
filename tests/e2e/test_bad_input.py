"""What bad input gets: one line, the exit status, and everything good left as it was.

All of these end before the first node runs, so they are run in this process.
"""

import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from data.contract.errors import Exit
from data.drawn_dogs import draw_dataset
from data.ingest import ingest
from pipeline.cli import main
from pipeline.config import load_config
from pipeline.workdir import Workdir
from tests.disks import small_disk

Snapshot = dict[str, str]
RunHere = Callable[..., tuple[int, str]]
Fails = Callable[..., str]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 drawn dogs in four class folders."""
    folder = tmp_path_factory.mktemp("photos")
    draw_dataset(folder / "good", per_class=40, seed=0)
    return folder / "good"


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a good run leaves of what a bad one might spoil; model and metadata are stand-ins."""
    workdir = Workdir(tmp_path_factory.mktemp("finished"))
    span = ingest(photos, workdir.data)
    classes = f"classes={[*span.classes]}"
    with workdir.locked():
        workdir.store_config(load_config("tiny", overrides=["model.weights=random", classes]))
    with closing(sqlite3.connect(workdir.metadata)) as metadata:
        metadata.execute("CREATE TABLE stand_in (id INTEGER)")
    (workdir.serving / "1" / "variables").mkdir(parents=True)
    (workdir.serving / "1" / "saved_model.pb").write_bytes(b"the model")
    return workdir.root


@pytest.fixture
def workdir(finished: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copytree(finished, tmp_path / "workdir"))


@pytest.fixture
def run_here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunHere:
    """Runs in this process; returns the exit status and the one line of complaint."""

    def run_here(*arguments: str | Path) -> tuple[int, str]:
        # pytest's own sys.stderr bypasses the file descriptor, which a run redirects to its log.
        with monkeypatch.context() as patch, open(2, "w", buffering=1, closefd=False) as stderr:
            patch.setattr(sys, "stderr", stderr)
            status = main(["run", *map(str, arguments)])
        shown = capfd.readouterr()
        assert "Traceback" not in shown.out
        (line,) = shown.err.splitlines()
        return status, line.removeprefix("dog-emotion: ")

    return run_here


@pytest.fixture
def fails(run_here: RunHere, workdir: Path, snapshot: Callable[[Path], Snapshot]) -> Fails:
    """Runs in the workdir; returns the line of a failure that changed nothing there."""

    def fails(*arguments: str | Path, status: Exit) -> str:
        before = kept(workdir, snapshot)
        answer, line = run_here("--profile=tiny", "--workdir", workdir, *arguments)
        assert answer == status
        assert kept(workdir, snapshot) == before
        return line

    return fails


def kept(workdir: Path, snapshot: Callable[[Path], Snapshot]) -> Snapshot:
    """All but the log and the table of what was wrong with the photos of the last run."""
    replaced = {str(workdir / "run.log"), str(workdir / "data" / "rejected.csv")}
    return {name: digest for name, digest in snapshot(workdir).items() if name not in replaced}


def test_a_missing_folder(fails: Fails, tmp_path: Path) -> None:
    line = fails("--photos", tmp_path / "none", status=Exit.USAGE)
    assert line == f"--photos {tmp_path / 'none'}: there is no such folder"


def test_a_folder_without_photos(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no photos in" in fails("--photos", tmp_path / "empty", status=Exit.FAILED)


def test_photos_outside_class_folders(fails: Fails, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "sad", tmp_path / "flat")
    line = fails("--photos", tmp_path / "flat", status=Exit.FAILED)
    assert "one folder for each class" in line


def test_one_class_only(fails: Fails, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "sad", tmp_path / "one" / "sad")
    line = fails("--photos", tmp_path / "one", status=Exit.FAILED)
    assert "only one class (sad)" in line
    assert "two or more" in line


def test_a_table_without_the_columns(fails: Fails, tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    table.write_text("file,emotion\na.jpg,sad\n")
    assert "path,label" in fails("--photos", table, status=Exit.FAILED)


def test_files_of_which_none_is_a_photo(fails: Fails, workdir: Path, tmp_path: Path) -> None:
    for label in ("angry", "happy", "relaxed", "sad"):
        (tmp_path / "none" / label).mkdir(parents=True)
        for index in range(25):
            (tmp_path / "none" / label / f"{index}.jpg").write_text("no photo")
    line = fails("--photos", tmp_path / "none", status=Exit.FAILED)
    assert "100 of 100 photos (100.0%) cannot be used" in line
    table = workdir / "data" / "rejected.csv"
    assert str(table) in line
    header, *rows = table.read_text().splitlines()
    assert header == "path,reason"
    assert len(rows) == 100
    assert rows[0] == 'angry/0.jpg,"not a JPEG, PNG, WebP, BMP or GIF image"'


def test_a_class_of_too_few_photos(fails: Fails, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "few")
    for photo in sorted((tmp_path / "few" / "sad").glob("*.jpg"))[10:]:
        photo.unlink()
    line = fails("--photos", tmp_path / "few", status=Exit.FAILED)
    assert "class 'sad' has 10 usable photos, 20 are needed: add 10 more" in line


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_corrupt_shard(fails: Fails, photos: Path, workdir: Path, split: str) -> None:
    shard = workdir / "data" / "span-1" / f"{split}-00000-of-00001.tfrecord.gz"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    line = fails("--photos", photos, status=Exit.FAILED)
    assert f"{shard} is missing or damaged" in line
    assert "run again" in line


def test_a_missing_shard(fails: Fails, photos: Path, workdir: Path) -> None:
    shard = workdir / "data" / "span-1" / "val-00000-of-00001.tfrecord.gz"
    shard.unlink()
    assert f"{shard} is missing" in fails("--photos", photos, status=Exit.FAILED)


def test_photos_of_classes_other_than_the_workdirs(
    fails: Fails, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos, tmp_path / "other")
    (tmp_path / "other" / "sad").rename(tmp_path / "other" / "bored")
    line = fails("--photos", tmp_path / "other", status=Exit.USAGE)
    assert "angry, happy, relaxed, sad" in line
    assert "angry, bored, happy, relaxed" in line
    assert "name another --workdir" in line


def test_configured_classes_that_the_photos_are_not_of(fails: Fails, photos: Path) -> None:
    line = fails("--photos", photos, "--set", 'classes=["cat", "dog"]', status=Exit.USAGE)
    assert "cat, dog" in line
    assert "angry, happy, relaxed, sad" in line


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.batch_size=0", "training.batch_size = 0: should be greater than or equal to 1"),
        ("training.batchsize=8", "training.batchsize: no such key"),
        ("gate.accuracy_floor=high", 'gate.accuracy_floor = "high": should be a valid number'),
    ],
)
def test_a_wrong_configuration(fails: Fails, setting: str, said: str) -> None:
    assert fails("--set", setting, status=Exit.USAGE).startswith(said)


def test_weights_that_are_not_there(fails: Fails, photos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "none.weights.h5"
    line = fails("--photos", photos, "--set", f"model.weights={weights}", status=Exit.FAILED)
    assert f"'{weights}': there is no such file" in line


def test_a_damaged_configuration_in_the_workdir(fails: Fails, photos: Path, workdir: Path) -> None:
    (workdir / "config.json").write_text("{")
    line = fails("--photos", photos, status=Exit.USAGE)
    assert f"{workdir / 'config.json'}: " in line
    assert "delete the file and run again" in line


def test_a_damaged_manifest(fails: Fails, photos: Path, workdir: Path) -> None:
    (workdir / "data" / "span-1" / "manifest.json").write_text("{")
    line = fails("--photos", photos, status=Exit.FAILED)
    assert "manifest.json is missing or damaged" in line


def test_a_workdir_that_cannot_be_written(run_here: RunHere, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    workdir = tmp_path / "file" / "workdir"
    assert run_here("--photos", photos, "--workdir", workdir) == (
        Exit.FAILED,
        f"cannot write in {workdir}: Not a directory; name another --workdir",
    )


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "1m") as mounted:
        if not mounted:
            pytest.skip("a small disk to fill cannot be mounted by this user")
        yield disk


@pytest.mark.parametrize("drawn", [True, False])
def test_a_full_disk(run_here: RunHere, drawn: bool, full_disk: Path, photos: Path) -> None:
    workdir = full_disk / "workdir"
    source = [] if drawn else ["--photos", photos]
    status, line = run_here("--profile=tiny", "--workdir", workdir, *source)
    assert status == Exit.FAILED
    assert "No space left on device" in line
    assert not (workdir / "drawn").exists()
    assert not list((workdir / "data").glob("span-*"))
