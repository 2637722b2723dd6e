"""What people said of answers: a folder with a photo and a JSON object for each.

The photo is named by its SHA-256, and the object lies beside it under the same name. A photo
without its object is one that was on its way, in or out, when a process was killed.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

RECORD = ".json"
PHOTOS = (".jpg", ".png")
"""The endings of the files: what models take."""
_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "sha256": str,
    "photo": str,
    "when": str,
    "model": str,
    "version": str,
    "label": str,
    "probabilities": dict,
    "certain": (bool, type(None)),
    "dog": (float, int, type(None)),
    "correction": str,
}


@dataclass(frozen=True)
class Feedback:
    """What someone said of one answer."""

    sha256: str
    """Of the photo as it was sent, hexadecimal."""
    photo: str
    """The name of its file."""
    when: str
    """In UTC, as in 2026-01-31T12:00:00Z."""
    model: str
    version: str
    label: str
    """The likeliest class, as the version said."""
    probabilities: Mapping[str, float]
    certain: bool | None
    dog: float | None
    """As in a prediction; None where the model does not tell, as is `certain`."""
    correction: str
    """The class that the person named; `label` itself if that is right."""

    def to_json(self) -> str:
        """The object in the folder."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads such an object.

        Raises:
            ValueError: it is something else; the message says what is wrong.
        """
        found: Any = json.loads(text)
        if not isinstance(found, dict) or found.keys() != _FIELDS.keys():
            raise ValueError(f"not an object with the keys {', '.join(_FIELDS)}")
        for name, kind in _FIELDS.items():
            if not isinstance(found[name], kind):
                raise ValueError(f"{name} is {found[name]!r}")
        if not re.fullmatch("[0-9a-f]{64}", found["sha256"]):
            raise ValueError(f"sha256 is {found['sha256']!r}")
        if found["photo"] not in [found["sha256"] + ending for ending in PHOTOS]:
            raise ValueError(f"photo is {found['photo']!r}")
        return cls(**found)


def is_photo(file: Path) -> bool:
    """Whether a file's name is that of a photo which came with feedback."""
    return file.suffix in PHOTOS and re.fullmatch("[0-9a-f]{64}", file.stem) is not None


def now() -> str:
    """The time as `Feedback.when` has it."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keeps others from changing what is in the folder; waits while they do.

    Raises:
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # releases the lock, as the end of the process does
