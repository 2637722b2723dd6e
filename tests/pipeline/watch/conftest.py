"""Folders in which something has run, and photos that wait."""

import json
from pathlib import Path

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.outputs import open_store
from pipeline.workdir import Workdir
from tests.pipeline.lineage.stores import Recorder


class Past:
    """What runs have left in a folder."""

    def __init__(self, workdir: Workdir) -> None:
        self.workdir = workdir
        self._store: MetadataStore = open_store(workdir.metadata)
        self._recorder = Recorder(self._store)

    def begin(self, *names: str, rejected: str = "") -> mlmd.Context:
        """A run that is killed when it has written its span of photos with these names."""
        number = len(list(self.workdir.data.glob("span-*"))) + 1
        span = self.workdir.data / f"span-{number}"
        span.mkdir(parents=True)
        keys = ("input", "classes", "counts", "rejected", "conflicts", "shards")
        (span / "manifest.json").write_text(json.dumps(dict.fromkeys(keys, 0)))
        rows = [f"{name},happy,train,g,p,s\n" for name in names[1:]]
        (span / "photos.csv").write_text("path,label,split,group,pixels,sha256\n" + "".join(rows))
        conflicts = [f"{name},happy,g,a conflict,s\n" for name in names[:1]]
        (span / "conflicts.csv").write_text("path,label,group,reason,sha256\n" + "".join(conflicts))
        (span / "rejected.csv").write_text(f"path,reason\n{rejected},no photo\n")
        return self._recorder.begin(f"run {number}", span=number)

    def end(self, run: mlmd.Context) -> None:
        """It comes to its end."""
        self._recorder.push(run, None)

    def fail(self, run: mlmd.Context, node: str) -> None:
        """A node of it fails."""
        self._recorder.fail(run, node)


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    workdir = Workdir(tmp_path / "run")
    workdir.root.mkdir()
    return workdir


@pytest.fixture
def past(workdir: Workdir) -> Past:
    return Past(workdir)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "dogs" / "happy").mkdir(parents=True)
    (tmp_path / "dogs" / "sad").mkdir()
    return tmp_path / "dogs"


def add(photos: Path, *names: str) -> None:
    """Puts files among the photos."""
    for name in names:
        (photos / name).write_bytes(b"a photo")
