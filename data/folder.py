"""The photos and labels that a user gives: class folders, or a CSV table `path,label`."""

import csv
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from data.contract.errors import UsageError
from data.errors import DataError


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo file, its name relative to the source (as tables show it), and its class."""

    path: Path
    name: str
    label: str


def list_photos(source: Path, settled_seconds: float = 0) -> list[LabelledPhoto]:
    """Every labelled file of the source, if its classes can be trained on; see `find_photos`.

    Args:
        source: class folders, or a CSV table of path,label.
        settled_seconds: files that have changed since are left out: they may be half-copied.

    Raises:
        DataError: as `find_photos`, or an empty class, fewer than two of them, or an unusable name.
    """
    photos = find_photos(source)
    if settled_seconds:
        photos = settled(photos, settled_seconds)
    labels = sorted({photo.label for photo in photos})
    for folder in _class_folders(source) if source.is_dir() else ():
        if show(folder.name) not in labels:
            raise DataError(f"class folder {folder} is empty: put photos in it, or remove it")
    for label in labels:
        _check_label(label, source)
    if len(labels) < 2:
        raise DataError(f"only one class ({labels[0]}) in {source}: it needs two or more")
    return photos


def find_photos(source: Path) -> list[LabelledPhoto]:
    """Every labelled file of the source, sorted by name; the files are not opened.

    A folder: each sub-folder is a class, and every file in it, at any depth, is one of its
    photos. A `.csv` file with the columns `path` and `label`: one photo per row, paths relative
    to the file's folder. Names that begin with a dot are ignored, as are files outside the class
    folders. Links to files are followed; links to folders inside a class folder are not.

    Raises:
        DataError: no such source, or no photos.
    """
    if source.is_dir():
        listed, shape = _list_folder(source), "one folder for each class"
    elif source.is_file():
        listed, shape = list_table(source), "rows of path,label"
    else:
        raise DataError(f"no photos at {source}: there is no such folder or CSV file")
    try:
        photos = sorted(listed, key=lambda photo: (photo.name, photo.label))
    except OSError as error:
        raise DataError(f"cannot read {error.filename or source}: {error.strerror}") from error
    if not photos:
        raise DataError(f"no photos in {source}: it needs {shape}, with photos in them")
    return photos


def settled(photos: Iterable[LabelledPhoto], seconds: float) -> list[LabelledPhoto]:
    """Those of some photos whose files have not changed for so long.

    What counts is the change of any kind: a copy may keep the time of the last write, but each
    block that is added to a file is a change. A file that cannot be looked at is not left out.
    """
    latest = time.time() - seconds
    return [photo for photo in photos if _last_change(photo.path) <= latest]


def _last_change(file: Path) -> float:
    """Seconds since the epoch."""
    try:
        return file.stat().st_ctime
    except OSError:
        return 0.0


def require_apart(out: Path, source: Path) -> None:
    """Refuse a folder for records that the next listing of the photos would take for a class.

    It need not exist yet. A table itself says what is a photo, wherever the records lie.

    Raises:
        UsageError: the folder is, or lies in, the source or one of its class folders, by whatever
            links.
        DataError: the source cannot be read.
    """
    if not source.is_dir():
        return
    try:
        taken = {_identify(folder) for folder in (source, *source.iterdir()) if folder.is_dir()}
    except OSError as error:
        raise DataError(f"cannot read {error.filename or source}: {error.strerror}") from error
    for path in map(Path, (os.path.normpath(out.absolute()), os.path.realpath(out))):
        if any(_identify(folder) in taken for folder in (path, *path.parents)):
            raise UsageError(f"{out} is inside {source}: name a folder apart from the photos")


def show(path: str | Path) -> str:
    """A path as text that any table can hold: bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def _identify(folder: Path) -> tuple[int, int] | None:
    """What is the same for all paths to one folder; None if there is no folder yet."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _list_folder(source: Path) -> Iterator[LabelledPhoto]:
    for folder in _class_folders(source):
        for file in walk(folder):
            yield LabelledPhoto(file, show(file.relative_to(source)), show(folder.name))


def _class_folders(source: Path) -> Iterator[Path]:
    for folder in source.iterdir():
        if not folder.name.startswith(".") and folder.is_dir():
            yield folder


def walk(folder: Path) -> Iterator[Path]:
    """Every file in a folder, at any depth; names that begin with a dot are ignored."""
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, file) for file in files if not file.startswith("."))


def _refuse(error: OSError) -> NoReturn:
    """Left to itself, os.walk skips a folder that it may not read."""
    raise error


def list_table(source: Path) -> Iterator[LabelledPhoto]:
    """The photos of a CSV table.

    Raises:
        DataError: it is no table of path,label.
    """
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"path", "label"} <= set(rows.fieldnames or ()):
                raise DataError(f"{source}: the first line must name the columns path,label")
            for row in rows:
                path, label = row["path"], row["label"]
                if not path or not label:
                    raise DataError(f"{source}, line {rows.line_num}: path or label is empty")
                yield LabelledPhoto(source.parent / path, show(path), label)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source} is not a CSV table of path,label in UTF-8: {error}") from None


def _check_label(label: str, source: Path) -> None:
    """Class names are written one per line and listed with commas: neither may be inside one."""
    if not label.isprintable() or "," in label or label != label.strip():
        raise DataError(
            f"class name {label!r} in {source} cannot be used: "
            "rename it, with no commas or line breaks in it and no spaces around it"
        )
