"""What earlier runs have left in a folder, after something has happened to it."""

import shutil
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.orchestration.metadata import sqlite_metadata_connection_config

from pipeline.artifacts import remember, require_unchanged
from pipeline.workdir import Workdir, WorkdirError


def make_artifact(workdir: Workdir) -> Path:
    """Puts an artifact of two files into the folder and its metadata store."""
    store = MetadataStore(sqlite_metadata_connection_config(str(workdir.metadata)))
    made = store.put_execution_type(mlmd.ExecutionType(name="Trainer"))
    (execution,) = store.put_executions([mlmd.Execution(type_id=made)])
    folder = workdir.pipeline_root / "Trainer" / "model" / str(execution)
    kind = store.put_artifact_type(mlmd.ArtifactType(name="Model"))
    store.put_artifacts([mlmd.Artifact(type_id=kind, uri=str(folder))])
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "data").write_text("weights")
    (folder / "graph").write_text("graph")
    return folder


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    workdir = Workdir(tmp_path / "run")
    workdir.root.mkdir()
    return workdir


@pytest.fixture
def artifact(workdir: Workdir) -> Path:
    folder = make_artifact(workdir)
    remember(workdir)
    return folder


def test_a_fresh_folder_is_in_order(workdir: Workdir) -> None:
    remember(workdir)
    require_unchanged(workdir)
    assert not list(workdir.root.iterdir())


def test_what_nothing_has_happened_to_is_in_order(workdir: Workdir, artifact: Path) -> None:
    require_unchanged(workdir)
    make_artifact(workdir)  # by a run that was killed before it could record it
    require_unchanged(workdir)


def test_a_file_that_is_gone_or_shorter_is_named(workdir: Workdir, artifact: Path) -> None:
    file = artifact / "variables" / "data"
    wanted = f"^{file} is missing or damaged: put it back, or delete {artifact} and run again$"
    file.write_text("wei")
    with pytest.raises(WorkdirError, match=wanted):
        require_unchanged(workdir)
    file.unlink()
    with pytest.raises(WorkdirError, match=wanted):
        require_unchanged(workdir)
    file.write_text("weights")
    require_unchanged(workdir)


def test_an_artifact_that_was_emptied_is_named(workdir: Workdir, artifact: Path) -> None:
    shutil.rmtree(artifact)
    artifact.mkdir()
    with pytest.raises(WorkdirError, match=f"delete {artifact} and run again"):
        require_unchanged(workdir)


def test_one_that_was_deleted_is_left_to_be_made_again(workdir: Workdir, artifact: Path) -> None:
    shutil.rmtree(artifact)
    require_unchanged(workdir)


def test_a_record_that_is_no_json_is_named(workdir: Workdir, artifact: Path) -> None:
    record = workdir.pipeline_root / "files.json"
    record.write_text("{")
    with pytest.raises(WorkdirError, match=f"^{record} is damaged: delete it"):
        require_unchanged(workdir)


def test_a_store_that_is_gone_or_empty_is_not_begun_anew_over_its_artifacts(
    workdir: Workdir, artifact: Path
) -> None:
    wanted = f"^{workdir.metadata} is gone, or older .* delete it and {workdir.pipeline_root} and"
    workdir.metadata.write_bytes(b"")
    with pytest.raises(WorkdirError, match=wanted):
        require_unchanged(workdir)
    workdir.metadata.unlink()
    with pytest.raises(WorkdirError, match=wanted):
        require_unchanged(workdir)
    assert not workdir.metadata.exists()


def test_a_store_of_before_the_newest_artifact_is_refused(workdir: Workdir, artifact: Path) -> None:
    before = workdir.metadata.read_bytes()
    make_artifact(workdir)
    require_unchanged(workdir)
    workdir.metadata.write_bytes(before)
    with pytest.raises(WorkdirError, match="older than the artifacts"):
        require_unchanged(workdir)


@pytest.mark.parametrize("pages", [1, 10])
def test_a_store_that_is_half_there_is_named(workdir: Workdir, artifact: Path, pages: int) -> None:
    workdir.metadata.write_bytes(workdir.metadata.read_bytes()[: pages * 4096])
    with pytest.raises(WorkdirError, match=f"^{workdir.metadata} is damaged"):
        require_unchanged(workdir)


def test_a_folder_that_was_moved_does_not_take_what_lies_in_its_old_place(
    workdir: Workdir, artifact: Path
) -> None:
    moved = Workdir(workdir.root.rename(workdir.root.with_name("moved")))
    with pytest.raises(WorkdirError, match=f"^{moved.root} was moved or copied, .* {artifact}: "):
        require_unchanged(moved)


def test_another_name_of_the_same_folder_is_in_order(workdir: Workdir, artifact: Path) -> None:
    link = workdir.root.with_name("link")
    link.symlink_to(workdir.root)
    require_unchanged(Workdir(link))
