"""The folder that feedback lands in: whole or not at all, and no more than it may hold."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.contract.feedback import RECORD, Feedback, claimed
from data.contract.whole_files import write_whole
from serving.embedded.errors import ServerConfigError

UNFINISHED = ".unfinished"


class FullError(Exception):
    """There is no room for more; the message says of what."""


class FeedbackFolder:
    """A folder of feedback, which several servers may share.

    Nothing is remembered of what it holds: whoever takes photos out of it makes room.

    Args:
        folder: is made if need be.
        most_photos: that it may hold.
        most_bytes: of all that it holds.

    Raises:
        ServerConfigError: it cannot be written.
    """

    def __init__(self, folder: Path, most_photos: int, most_bytes: int) -> None:
        self._folder, self._most_photos, self._most_bytes = folder, most_photos, most_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._claimed() as unfinished:
                unfinished.touch()
        except OSError as error:
            raise ServerConfigError(
                f"--feedback {folder} cannot be written: {error.strerror}; name another folder"
            ) from None

    def keep(self, feedback: Feedback, photo: bytes) -> None:
        """Adds feedback; what was said of the same photo before gives way.

        Args:
            feedback: on the photo.
            photo: its bytes as they were sent.

        Raises:
            FullError: there is no room for it; then nothing has changed.
            OSError: it cannot be written.
        """
        record = feedback.to_json().encode()
        try:
            with self._claimed() as unfinished:
                self._require_room(feedback, len(photo) + len(record))
                # The record is last: with it, the photo counts.
                for name, content in ((feedback.photo, photo), (feedback.sha256 + RECORD, record)):
                    write_whole(self._folder / name, content, unfinished)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise FullError("the disk is full") from error
            raise

    def _require_room(self, feedback: Feedback, added: int) -> None:
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self._folder)}
        for name in (feedback.photo, feedback.sha256 + RECORD):
            sizes.pop(name, None)
        if sum(not name.endswith(RECORD) for name in sizes) >= self._most_photos:
            raise FullError(f"it holds {self._most_photos:,} photos, and may hold no more")
        if sum(sizes.values()) + added > self._most_bytes:
            raise FullError(f"it may hold no more than {self._most_bytes // 10**6:,} MB")

    @contextmanager
    def _claimed(self) -> Iterator[Path]:
        """The file to write to first, while nobody else does; it is gone before and afterwards."""
        with claimed(self._folder):
            unfinished = self._folder / UNFINISHED
            unfinished.unlink(missing_ok=True)  # left by a server that was killed
            try:
                yield unfinished
            finally:
                unfinished.unlink(missing_ok=True)
