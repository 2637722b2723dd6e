"""What has been decided about the photos under review; the table on the disk is all that counts."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data import relabels
from data.contract.errors import UserError
from data.relabels import UNDO, Relabel
from pipeline.review.photos import Photo


class OutdatedError(UserError):
    """Someone else has decided about the photo meanwhile."""


@dataclass(frozen=True)
class Decision:
    """What is in force about one photo."""

    position: int
    """The photo's, in the list under review."""
    to: str
    """The label; empty if the photo is left out."""
    reason: str
    earlier: bool
    """Whether it was there when this review began."""


@dataclass(frozen=True)
class Tally:
    """How many photos were decided about in this review."""

    relabelled: int
    right: int
    left_out: int
    undecided: int
    """That are left."""


class Decisions:
    """The decisions about a list of photos, shared with whoever else writes to the table."""

    def __init__(self, file: Path, photos: Sequence[Photo], at_first: Sequence[str]) -> None:
        """Reads the table.

        Args:
            file: of `data.relabels`; it need not exist yet.
            photos: under review, each with its own hash, labelled as decided so far.
            at_first: the labels that the photos would have without any decision.

        Raises:
            DataError: the table cannot be read.
        """
        self._file = file
        self._photos = photos
        self._at_first = at_first
        self._positions = {photo.sha256: position for position, photo in enumerate(photos)}
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._rows: dict[str, Relabel] = {}
        self._refresh()
        self._earlier = dict(self._rows)

    @property
    def of_other_photos(self) -> int:
        """How many photos the table has decisions about that are not under review."""
        return len(self._rows.keys() - self._positions.keys())

    def current(self) -> list[Decision]:
        """The decisions in force, the latest last.

        Raises:
            DataError: the table cannot be read.
        """
        with self._lock:
            self._refresh()
            return self._current()

    def decide(self, position: int, to: str, reason: str, *, seen: str | None) -> None:
        """Adds a decision about a photo to the table.

        Args:
            position: the photo's.
            to: its label from now on: the same if it is right, empty to leave the photo out.
            reason: on one line; may be empty.
            seen: the label that was in force when the person decided; None if there was none.

        Raises:
            OutdatedError: another one is in force by now.
            DataError: it cannot be added; then it is not.
        """
        with self._lock:
            last = self._last(position, seen)
            before = last.to if last else self._photos[position].label
            self._add(position, before, to, reason)

    def undo(self, position: int, *, seen: str | None) -> None:
        """Takes back the decision about a photo, if there is one.

        Args:
            position: the photo's.
            seen: as for `decide`.

        Raises:
            OutdatedError: another one is in force by now.
            DataError: it cannot be taken back; then it is not.
        """
        with self._lock:
            if (last := self._last(position, seen)) and not last.is_undo:
                self._add(position, last.to, self._at_first[position], UNDO)

    def label(self, position: int) -> str:
        """The label of a photo, apart from a decision that is in force."""
        with self._lock:
            row = self._rows.get(self._photos[position].sha256)
            return row.to if row and row.is_undo else self._photos[position].label

    def tally(self) -> Tally:
        """What this review has come to.

        Raises:
            DataError: the table cannot be read.
        """
        current = self.current()
        new = [each for each in current if not each.earlier]
        left_out = sum(not each.to for each in new)
        right = sum(each.to == self._photos[each.position].label for each in new)
        return Tally(
            relabelled=len(new) - right - left_out,
            right=right,
            left_out=left_out,
            undecided=len(self._photos) - len(current),
        )

    def _current(self) -> list[Decision]:
        return [
            Decision(
                self._positions[sha256],
                row.to,
                row.reason,
                earlier=self._earlier.get(sha256) == row,
            )
            for sha256, row in self._rows.items()
            if sha256 in self._positions and not row.is_undo
        ]

    def _last(self, position: int, seen: str | None) -> Relabel | None:
        """The last row about a photo, if what is in force is what the person has seen."""
        self._refresh()
        row = self._rows.get(self._photos[position].sha256)
        if (row.to if row and not row.is_undo else None) != seen:
            raise OutdatedError("someone has decided about this photo meanwhile: look again")
        return row

    def _add(self, position: int, before: str, to: str, reason: str) -> None:
        sha256 = self._photos[position].sha256
        relabels.append(self._file, Relabel(sha256, before, to, reason, datetime.now(UTC)))

    def _refresh(self) -> None:
        """Reads the table again if someone has written to it."""
        version = _version(self._file)
        if version != self._version:
            self._rows = relabels.read(self._file)
            self._version = version


def _version(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
