"""Span folders: `span-1`, `span-2`, ..., each complete and described by its manifest, or absent."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.errors import DataError

MANIFEST = "manifest.json"
KEYS = {"input", "classes", "counts", "rejected", "conflicts", "shards"}
"""What a manifest has at the least."""
UNFINISHED = ".unfinished"


def find_newest(out: Path) -> Path | None:
    """The span folder with the highest number; files with such a name are left alone."""
    return max(list_spans(out), key=read_number, default=None)


def list_spans(out: Path) -> list[Path]:
    """The span folders, by their numbers."""
    return sorted((path for path in _find_names(out) if path.is_dir()), key=read_number)


def find_added_to(span: Path) -> list[Path]:
    """The earlier spans that a span adds to, the newest first; none if it holds all photos.

    Raises:
        DataError: a manifest is damaged, or the span holds only what was new and lies apart.
    """
    found: list[Path] = []
    if not _holds_only_new(span):
        return found
    beside = list_spans(span.parent)
    if span not in beside:
        raise DataError(
            f"{span} holds only what was new: put it back beside the spans that it adds to, under "
            "its name span-N"
        )
    for earlier in reversed(beside[: beside.index(span)]):
        found.append(earlier)
        if not _holds_only_new(earlier):
            break
    return found


def _holds_only_new(span: Path) -> bool:
    return bool(read_manifest(span).get("only_new"))


def require_next(out: Path, number: int | None) -> None:
    """Refuse a number that `commit` would not give.

    Raises:
        DataError: naming the number that it would.
    """
    if number is not None and number != next_number(out):
        raise DataError(
            f"span-{number} cannot be written in {out}: the next one is span-{next_number(out)}; "
            "a span that exists is never rewritten"
        )


def read_number(span: Path) -> int:
    """The number of a span, from 1."""
    return int(span.name.removeprefix("span-"))


def read_manifest(span: Path) -> dict[str, Any]:
    """The manifest of a span.

    Raises:
        DataError: it is missing, or no JSON object with all `KEYS`.
    """
    try:
        manifest = json.loads((span / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or not manifest.keys() >= KEYS:
        raise DataError(f"{span / MANIFEST} is missing or damaged: delete {span} and run again")
    return manifest


def write_manifest(span: Path, manifest: dict[str, Any]) -> None:
    """Describe a span with a JSON object."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    (span / MANIFEST).write_text(text, encoding="utf-8")


def check_shards(span: Path, shards: dict[str, dict[str, Any]]) -> None:
    """Compare the shards with the hashes in the manifest.

    Raises:
        DataError: naming the first file that is missing, differs or does not belong there, as every
            shard in a span is read.
    """
    for file in sorted(span.glob("*.tfrecord.gz")):
        if file.name not in shards:
            raise DataError(f"{file} is not part of its span: move it away and run again")
    for name, shard in shards.items():
        file = span / name
        if not file.is_file() or hash_file(file) != shard["sha256"]:
            raise DataError(f"{file} is missing or damaged: delete {span} and run again")


@contextmanager
def claim(out: Path) -> Iterator[Path]:
    """A temporary folder inside `out`, for this run alone; gone afterwards, whatever happens.

    Raises:
        DataError: another run is writing to `out` now.
    """
    out.mkdir(parents=True, exist_ok=True)
    unfinished = out / UNFINISHED
    handle = os.open(out, os.O_RDONLY)
    try:
        _lock(handle, out)
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a run that was killed
        unfinished.mkdir()
        try:
            yield unfinished
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        os.close(handle)  # releases the lock, as the end of the process does


def _lock(handle: int, out: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"another run is writing to {out}: wait for it to end") from None


def commit(folder: Path, out: Path) -> Path:
    """Rename a finished folder to the next span, whatever has taken the earlier names."""
    span = out / f"span-{next_number(out)}"
    folder.rename(span)
    return span


def hash_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def next_number(out: Path) -> int:
    """The number that the next span gets."""
    return max(map(read_number, _find_names(out)), default=0) + 1


def _find_names(out: Path) -> list[Path]:
    """Whatever is named the way `commit` names spans: `span-1.bak` and `span-01` are not."""
    return [path for path in out.iterdir() if re.fullmatch("span-[1-9][0-9]{0,8}", path.name)]
