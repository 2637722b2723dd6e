"""What has been decided about the photos under review; the table on the disk is all that counts.

A decision about a photo is one about its copies and near-duplicates too, a row each: two labels for
one picture would leave all of them out.
"""

import threading
from collections import defaultdict
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
        self._groups: defaultdict[str, list[int]] = defaultdict(list)
        for position, photo in enumerate(photos):
            self._groups[photo.group].append(position)
        self._lock = threading.Lock()
        self._version: tuple[int, int] | None = None
        self._rows: dict[str, Relabel] = {}
        self._refresh()
        self._earlier = dict(self._rows)
        """What was there when this review began."""

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
        """Adds a decision about a photo and its copies to the table.

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
            self._require_seen(position, seen)
            now = datetime.now(UTC)
            relabels.append(
                self._file,
                *(
                    Relabel(self._photos[each].sha256, self._at_first[each], to, reason, now)
                    for each in self._copies(position)
                ),
            )

    def undo(self, position: int, *, seen: str | None) -> None:
        """Takes back the decision about a photo, if there is one, for all that it was about.

        Args:
            position: the photo's.
            seen: as for `decide`.

        Raises:
            OutdatedError: another one is in force by now.
            DataError: it cannot be taken back; then it is not.
        """
        with self._lock:
            self._require_seen(position, seen)
            if not (last := self._in_force(position)):
                return
            now = datetime.now(UTC)
            relabels.append(
                self._file,
                *(
                    Relabel(row.sha256, row.to, self._at_first[each], UNDO, now)
                    for each in self._copies(position)
                    if (row := self._in_force(each))
                    and (row.to, row.reason, row.when) == (last.to, last.reason, last.when)
                ),
            )

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
            Decision(position, row.to, row.reason, earlier=self._earlier.get(sha256) == row)
            for sha256 in self._rows
            if (position := self._positions.get(sha256)) is not None
            and (row := self._in_force(position))
        ]

    def _in_force(self, position: int) -> Relabel | None:
        """The decision about a photo; one that has not kept it from a conflict asks for another."""
        photo = self._photos[position]
        row = self._rows.get(photo.sha256)
        if (
            row is None
            or row.is_undo
            or (photo.conflict and self._earlier.get(photo.sha256) == row)
        ):
            return None
        now = [(photo.sha256, self._at_first[position])]
        return relabels.drop_outdated({photo.sha256: row}, now).get(photo.sha256)

    def _copies(self, position: int) -> list[int]:
        """The photo itself among them."""
        return self._groups[self._photos[position].group]

    def _require_seen(self, position: int, seen: str | None) -> None:
        """Refuse a person's decision if what is in force is not what they have seen."""
        self._refresh()
        row = self._in_force(position)
        if (row.to if row else None) != seen:
            raise OutdatedError("someone has decided about this photo meanwhile: look again")

    def _refresh(self) -> None:
        """Reads the table again if someone has written to it."""
        version = _version(self._file)
        if version != self._version:
            self._rows = relabels.read(self._file).rows
            self._version = version


def _version(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
