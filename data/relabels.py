"""What people have decided about labels: `relabels.csv`, a table that only ever grows.

Each row is a decision about one photo, and the last row about a photo counts. A decision is undone
by another row.
"""

import csv
import dataclasses
import errno
import fcntl
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from data.audit import Fact
from data.errors import DataError

FILE = "relabels.csv"
COLUMNS = ("sha256", "from", "to", "reason", "when")
UNDO = "undo"
"""The reason in a row that takes back those before: nobody has decided about the photo, and its
label is again that of its folder or table."""


@dataclass(frozen=True)
class Relabel:
    """One decision about one photo, in force from `when` until the next one about it."""

    sha256: str
    """Of the photo file's bytes, hexadecimal."""
    before: str
    """The label until then, the table's `from`; empty if the photo was left out."""
    to: str
    """The label from then on; the same as before if it is right, empty to leave the photo out."""
    reason: str
    """In the words of whoever decided, on one line; may be empty."""
    when: datetime
    """With a time zone."""

    @property
    def is_undo(self) -> bool:
        """Whether it takes back the rows before it, so that the photo is undecided."""
        return self.reason == UNDO


def default_file(source: Path) -> Path:
    """Where the decisions about a source are kept unless someone names another file.

    Args:
        source: class folders, in which the file lies beside the classes, or a CSV table of
            path,label, beside which it lies.
    """
    return (source if source.is_dir() else source.parent) / FILE


def read_decisions(source: Path, named: Path | None) -> dict[str, Relabel]:
    """The decision in force about each photo of a source, as `read` gives them.

    Args:
        source: class folders, or a CSV table of path,label.
        named: where the decisions are, if not in the `default_file`.

    Raises:
        DataError: as `read`, or nothing is where they should be.
    """
    if named is not None and not named.is_file():
        raise DataError(f"no decisions about labels at {named}: there is no such file")
    return read(named or default_file(source))


def read(file: Path) -> dict[str, Relabel]:
    """The decision in force about each photo, by the SHA-256 of the photo's file, the latest last.

    Args:
        file: the table; if there is none, nothing has been decided.

    Raises:
        DataError: a line is not a decision, or is cut off; the message names the line, what is
            wrong with it and the fix.
    """
    try:
        with (
            _locked(file, os.O_RDONLY, fcntl.LOCK_SH) as handle,
            open(handle, "rb", closefd=False) as stream,
        ):
            content = stream.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    if not content:
        return {}
    _require_whole(file, content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}, line {line} is not UTF-8: save the table as UTF-8") from None
    found: dict[str, Relabel] = {}
    for each in _parse(file, text.splitlines()):
        found.pop(each.sha256, None)  # so that it goes to the end
        found[each.sha256] = each
    return found


def append(file: Path, relabel: Relabel) -> None:
    """Add a decision; when this returns, it is on the disk.

    Any number of processes may add to one table at a time.

    Raises:
        DataError: the decision does not fit the table, the table's last line is cut off, or it
            cannot be written; nothing is added then.
    """
    row = _to_row(relabel)
    try:
        _check_row(row)
    except ValueError as error:
        raise DataError(f"cannot add to {file}: {error}") from None
    try:
        with _locked(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as handle:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                _require_whole(file, os.pread(handle, size, 0))
            rows = [row] if size else [COLUMNS, row]
            _write_at_once(handle, _to_csv(rows), size)
            os.fsync(handle)
        if not size:
            _sync_folder(file.parent)
    except OSError as error:
        raise DataError(f"cannot write to {file}: {error.strerror}") from error


def decide(decisions: Mapping[str, Relabel], sha256: str, label: str) -> str:
    """The label of a photo after the decision about it, if there is one; empty: it is left out.

    It counts for the file's content, in whatever class folder that lies now.
    """
    made = decisions.get(sha256)
    return label if made is None or made.is_undo else made.to


def relabel(facts: Iterable[Fact], decisions: Mapping[str, Relabel]) -> list[Fact]:
    """The facts as people have decided: with another label, or left out."""
    return [_relabel(fact, decide(decisions, fact.sha256, fact.label)) for fact in facts]


def _relabel(fact: Fact, label: str) -> Fact:
    if label:
        return dataclasses.replace(fact, label=label)
    return dataclasses.replace(fact, conflict=f"left out by {FILE}")


@contextmanager
def _locked(file: Path, flags: int, lock: int) -> Iterator[int]:
    handle = os.open(file, flags, 0o666)
    try:
        fcntl.flock(handle, lock)
        yield handle
    finally:
        os.close(handle)  # releases the lock, as the end of the process does


def _write_at_once(handle: int, content: bytes, size: int) -> None:
    """One write; what a full disk takes only a part of is taken back."""
    if os.write(handle, content) != len(content):
        os.ftruncate(handle, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync_folder(folder: Path) -> None:
    """Without this, a new file's name may not outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _require_whole(file: Path, content: bytes) -> None:
    """Refuse a table whose last line has no end: it may be half of what someone decided."""
    if not content.endswith(b"\n"):
        line = content.count(b"\n") + 1
        cut = content.rpartition(b"\n")[2].decode("utf-8", "replace")
        raise DataError(
            f"{file}, line {line} is cut off: {cut!r} has no line break after it; delete the line, "
            "or complete it and end it with a line break"
        )


def _parse(file: Path, lines: list[str]) -> Iterator[Relabel]:
    header, *rows = lines
    if tuple(next(csv.reader([header]))) != COLUMNS:
        raise DataError(
            f"{file}, line 1 is {header!r}: a table of relabels begins with {','.join(COLUMNS)}"
        )
    for number, line in enumerate(rows, start=2):
        try:
            row = next(csv.reader([line], strict=True), [])
            _check_row(row)
        except (ValueError, csv.Error) as error:
            raise DataError(f"{file}, line {number}: {error}") from None
        sha256, before, to, reason, when = row
        yield Relabel(sha256, before, to, reason, datetime.fromisoformat(when))


def _check_row(row: list[str]) -> None:
    """Refuse what is not a decision.

    Raises:
        ValueError: what is wrong, and the fix.
    """
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} values, not the {len(COLUMNS)} of {','.join(COLUMNS)}")
    sha256, before, to, reason, when = row
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(
            f"sha256 is {sha256!r}: give the SHA-256 of the photo's file, 64 of 0-9 and a-f"
        )
    for name, label in (("from", before), ("to", to)):
        if not label.isprintable() or "," in label or label != label.strip():
            raise ValueError(
                f"{name} is {label!r}: give a class name, with no commas or line breaks in it and "
                "no spaces around it, or nothing for a photo that is left out"
            )
    if not reason.isprintable():
        raise ValueError(f"reason is {reason!r}: keep it on one line, without control characters")
    if not _is_utc(when):
        raise ValueError(f"when is {when!r}: give a time in UTC, as in 2026-01-31T12:00:00Z")


def _is_utc(when: str) -> bool:
    try:
        return datetime.fromisoformat(when).utcoffset() == timedelta(0)
    except ValueError:
        return False


def _to_row(relabel: Relabel) -> list[str]:
    when = relabel.when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return [relabel.sha256, relabel.before, relabel.to, relabel.reason, when]


def _to_csv(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
