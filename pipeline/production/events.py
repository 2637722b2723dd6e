"""What was in production when, and why: `production.jsonl`, a file that only ever grows."""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data.contract.labels import STABLE
from pipeline.workdir import WorkdirError

ROLLBACK = "rollback"
BLESS = "bless"
BY_HAND = "by hand"
"""The command of an event that no command has recorded: somebody has edited the file."""

Labels = Mapping[str, int]
"""Versions by their labels."""


@dataclass(frozen=True)
class Event:
    """One change of what is in production, or one decision about a version."""

    when: datetime
    """With a time zone."""
    command: str
    """By which it was made, such as `promote`."""
    before: Labels
    after: Labels
    """The same as before if only a version was decided about."""
    why: str = ""
    """In the words of whoever made it, on one line; may be empty."""
    version: int | None = None
    """That was decided about."""

    @property
    def moves(self) -> list[tuple[str, int | None, int | None]]:
        """Each label that has moved: from which version, to which; None is for no version."""
        return [
            (label, self.before.get(label), self.after.get(label))
            for label in sorted({*self.before, *self.after}, reverse=True)
            if self.before.get(label) != self.after.get(label)
        ]

    def concerns(self, version: int) -> bool:
        """Whether a version got or lost a label, or was decided about."""
        moved = {each for _, *versions in self.moves for each in versions}
        return version in moved or version == self.version

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        moves = [{"label": label, "from": old, "to": new} for label, old, new in self.moves]
        return {
            "when": self.when.isoformat(timespec="seconds"),
            "command": self.command,
            "before": dict(self.before),
            "after": dict(self.after),
            "moves": moves,
            "why": self.why,
            "version": self.version,
        }


def as_table(events: Sequence[Event]) -> list[str]:
    """The events as the terminal shows them, a line for each."""
    return [
        f"{event.when.astimezone(UTC):%Y-%m-%d %H:%M:%S}  {event.command:<10}"
        f"{_described(event):<40}{event.why}".rstrip()
        for event in events
    ]


def _described(event: Event) -> str:
    if event.version is not None:
        return f"version {event.version}"
    return ", ".join(
        f"{label} {old} -> {new or 'none'}" if old else f"{label} {new}"
        for label, old, new in event.moves
    )


def as_line(event: Event) -> str:
    """An event on one line, without its end."""
    return json.dumps(event.to_json())


def from_line(line: str) -> Event:
    """What `as_line` has written.

    Raises:
        ValueError: it is not that.
    """
    try:
        row = json.loads(line)
        version = row["version"]
        return Event(
            when=datetime.fromisoformat(row["when"]),
            command=str(row["command"]),
            before=_labels(row["before"]),
            after=_labels(row["after"]),
            why=str(row["why"]),
            version=None if version is None else int(version),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _labels(row: dict[str, Any]) -> Labels:
    return {str(label): int(version) for label, version in row.items()}


def read(file: Path) -> list[Event]:
    """The events in a file, the oldest first; none if there is no file.

    A last line without an end is what a power cut has left, and is no event.

    Raises:
        WorkdirError: a line is damaged.
    """
    if not file.exists():
        return []
    *lines, _ = file.read_text(encoding="utf-8").split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(from_line(line))
        except ValueError as error:
            raise WorkdirError(
                f"{file}, line {number} is damaged ({error}): mend or delete the line"
            ) from None
    return found


def append(file: Path, events: Sequence[Event]) -> None:
    """Adds events, all or none; when this returns, they are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    content = "".join(f"{as_line(event)}\n" for event in events).encode()
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        kept = os.pread(handle, os.fstat(handle).st_size, 0).rfind(b"\n") + 1
        os.ftruncate(handle, kept)
        if os.pwrite(handle, content, kept) != len(content):
            os.ftruncate(handle, kept)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
    finally:
        os.close(handle)


def was_stable(events: Sequence[Event], version: int) -> bool:
    """Whether a version has ever been stable."""
    return any(version in (each.before.get(STABLE), each.after.get(STABLE)) for each in events)


def former_stable(events: Sequence[Event]) -> list[int]:
    """What was stable before, the latest first.

    What was rolled back from does not count, so that a second rollback goes further back.
    """
    stable: list[int] = []
    for event in events:
        before, after = event.before.get(STABLE), event.after.get(STABLE)
        if after is None or after == before:
            continue
        if before is not None and not stable:
            stable.append(before)
        if event.command == ROLLBACK and after in stable:
            while stable[-1] != after:
                stable.pop()
        else:
            stable.append(after)
    return stable[-2::-1]
