"""Whether TFX's artifacts are still what earlier runs have left in the folder.

TFX takes an artifact for whole if there is a folder at its path, whatever lies in it, and would
push a model that has lost half of its weights.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pipeline.workdir import Workdir, WorkdirError, write_atomically

_RECORD = "files.json"

Sizes = dict[str, int]
"""Bytes of every file below a folder, by its path within."""


def file_sizes(folder: Path) -> Sizes:
    """The files below a folder, hidden ones included."""
    return {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def remember(workdir: Workdir) -> None:
    """Records the files of all artifacts, for the run after this one."""
    if workdir.pipeline_root.exists():
        found = {
            folder.relative_to(workdir.pipeline_root).as_posix(): file_sizes(folder)
            for folder in _artifacts(workdir)
        }
        write_atomically(workdir.pipeline_root / _RECORD, json.dumps(found, indent=2))


def require_unchanged(workdir: Workdir) -> None:
    """Makes sure that what TFX knows of artifacts is true of this folder.

    Artifacts that are gone altogether are made again; half of one is an error.

    Raises:
        WorkdirError: it is not true; the message names the file and the fix.
    """
    _require_store(workdir)
    record = workdir.pipeline_root / _RECORD
    if not record.exists():
        return
    try:
        remembered: dict[str, Sizes] = json.loads(record.read_text())
    except ValueError:
        raise WorkdirError(f"{record} is damaged: delete it and run again") from None
    for artifact, sizes in remembered.items():
        folder = workdir.pipeline_root / artifact
        if not folder.exists():
            continue
        found = file_sizes(folder)
        for name, size in sizes.items():
            if found.get(name) != size:
                raise WorkdirError(
                    f"{folder / name} is missing or damaged: put it back, or delete {folder} and "
                    "run again"
                )


def _require_store(workdir: Workdir) -> None:
    """Refuses a metadata store that is not that of the artifacts in the folder.

    It numbers the folders of artifacts, and holds their absolute paths: an older one would fill
    folders that are full, one from elsewhere would take what lies there by now.
    """
    store, root = workdir.metadata, workdir.pipeline_root
    way_out = f"or delete it and {root} and run again"
    try:
        newest, uris = _read_store(store)
    except sqlite3.DatabaseError as error:
        raise WorkdirError(f"{store} is damaged ({error}): put a copy back, {way_out}") from None
    if max((int(folder.name) for folder in _artifacts(workdir)), default=0) > newest:
        raise WorkdirError(
            f"{store} is gone, or older than the artifacts in {root}: put it back, {way_out}"
        )
    for uri in uris:
        if not Path(uri).resolve().is_relative_to(root.resolve()):
            raise WorkdirError(
                f"{workdir.root} was moved or copied, its artifacts are known as {uri}: move it "
                f"back, or delete {store} and {root} and run again"
            )


def _artifacts(workdir: Workdir) -> Iterator[Path]:
    """The folders of artifacts, each named by the number of the execution that made it."""
    return (folder for folder in workdir.pipeline_root.glob("*/*/*") if folder.name.isdecimal())


def _read_store(file: Path) -> tuple[int, list[str]]:
    """The number of the newest execution, 0 if there was none, and the paths of all artifacts."""
    if not file.exists():
        return 0, []
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master")}
        if not {"Execution", "Artifact"} <= tables:
            return 0, []
        (newest,) = store.execute("SELECT MAX(id) FROM Execution").fetchone()
        return newest or 0, [uri for (uri,) in store.execute("SELECT uri FROM Artifact")]
