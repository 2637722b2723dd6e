"""What people have decided about labels: `relabels.csv`, a table that only ever grows.

Each row is a decision about one photo, and the last row about a photo counts. A decision is undone
by another row.

A decision is about a photo with the label that its folder or table gave it then, the row's `from`.
Where that says something else by now than both `from` and `to`, whoever moved the photo has spoken
later: the decision is outdated, the folder counts, and the user is told. So a photo stays where it
was moved to, and a class that was renamed takes its photos along. A decision for a class that there
is no more leaves the photo out until someone decides again: its old label was found wrong.
"""

import csv
import dataclasses
import errno
import fcntl
import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from data.audit import Fact
from data.errors import DataError

FILE = "relabels.csv"
COLUMNS = ("sha256", "from", "to", "reason", "when")
LEFT_OUT = f"left out by {FILE}"
"""Why a photo is not used that someone has left out."""
UNDO = "undo"
"""The reason in a row that takes back those before: nobody has decided about the photo, and its
label is again that of its folder or table."""


@dataclass(frozen=True)
class Relabel:
    """One decision about one photo, in force from `when` until the next one about it."""

    sha256: str
    """Of the photo file's bytes, hexadecimal."""
    before: str
    """The label that the folder or table gave the photo then, the table's `from`; empty if that
    does not matter."""
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


@dataclass(frozen=True)
class Relabels:
    """What a table of decisions held when it was read."""

    rows: dict[str, Relabel]
    """The decision in force about each photo, by the SHA-256 of the photo's file, the latest last.
    """
    sha256: str
    """Of the table, hexadecimal; empty if there is none."""


def default_file(source: Path) -> Path:
    """Where the decisions about a source are kept unless someone names another file.

    Args:
        source: class folders, in which the file lies beside the classes, or a CSV table of
            path,label, beside which it lies.
    """
    return (source if source.is_dir() else source.parent) / FILE


def read_decisions(source: Path, named: Path | None) -> Relabels:
    """The table of decisions about a source, as it is now.

    Args:
        source: class folders, or a CSV table of path,label.
        named: where the decisions are, if not in the `default_file`.

    Raises:
        DataError: as `read`, or nothing is where they should be.
    """
    if named is not None and not named.is_file():
        raise DataError(f"no decisions about labels at {named}: there is no such file")
    return read(named or default_file(source))


def read(file: Path) -> Relabels:
    """A table of decisions, each line of it checked.

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
        return Relabels({}, "")
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if not content:
        return Relabels({}, sha256)
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
    return Relabels(found, sha256)


def append(file: Path, *relabels: Relabel) -> None:
    """Add decisions, all or none; when this returns, they are on the disk.

    Any number of processes may add to one table at a time.

    Raises:
        DataError: a decision does not fit the table, the table's last line is cut off, or it
            cannot be written; nothing is added then.
    """
    added = [_to_row(relabel) for relabel in relabels]
    try:
        for row in added:
            _check_row(row)
    except ValueError as error:
        raise DataError(f"cannot add to {file}: {error}") from None
    try:
        with _locked(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, fcntl.LOCK_EX) as handle:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                _require_whole(file, os.pread(handle, size, 0))
            rows = added if size else [COLUMNS, *added]
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


def drop_outdated(
    decisions: Mapping[str, Relabel], photos: Iterable[tuple[str, str]]
) -> dict[str, Relabel]:
    """The decisions that still are about what the photos are labelled.

    Args:
        decisions: by the hash of the photo.
        photos: the hash of each photo, and the label that its folder or table gives it now. Of
            several files with one content, one that is labelled as then is enough.
    """
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for sha256, label in photos:
        labels[sha256].add(label)
    return {
        sha256: made
        for sha256, made in decisions.items()
        if made.is_undo or not made.before or {made.before, made.to} & labels[sha256]
    }


def relabel(
    facts: Sequence[Fact], decisions: Mapping[str, Relabel], classes: Collection[str]
) -> list[Fact]:
    """The facts as people have decided: with another label, or left out."""
    current = drop_outdated(decisions, ((fact.sha256, fact.label) for fact in facts))
    return [_relabel(fact, decide(current, fact.sha256, fact.label), classes) for fact in facts]


def _relabel(fact: Fact, label: str, classes: Collection[str]) -> Fact:
    if not label:
        return dataclasses.replace(fact, conflict=LEFT_OUT)
    if label not in classes:
        return dataclasses.replace(fact, conflict=f"labelled {label} in review, which is no class")
    return dataclasses.replace(fact, label=label)


def describe_unheeded(
    facts: Sequence[Fact], decisions: Mapping[str, Relabel], classes: Collection[str]
) -> list[str]:
    """The decisions that change nothing any more, and why, the photo's name first.

    Args:
        facts: about the photos, labelled by their folders or table.
        decisions: by the hash of the photo.
        classes: that there are.
    """
    current = drop_outdated(decisions, ((fact.sha256, fact.label) for fact in facts))
    found = []
    for fact in facts:
        made = decisions.get(fact.sha256)
        if made and fact.sha256 not in current:
            to = made.to or "left out"
            found.append(f"{fact.name} (decided as {made.before}: {to}; now {fact.label})")
        elif made and not made.is_undo and made.to and made.to not in classes:
            found.append(f"{fact.name} (left out: {made.to} is no class now)")
    return found


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
