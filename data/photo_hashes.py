"""SHA-256 of the photos, kept between runs so that a file that nobody touched is not read again."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.audit import Fact
from data.errors import DataError
from data.folder import LabelledPhoto
from data.photos import read_photo

FILE = "photo-hashes.json"
SETTLED_NS = 10 * 10**9
"""From this age on a file cannot change without showing another time: more than the two seconds
that the coarsest file system counts in, and more than two machines' clocks should differ."""


def identify(photo: LabelledPhoto) -> str:
    """What changes whenever the photo's content does; empty if nothing is known to.

    A file's own time can be set to any, and two files can swap their names: hence the inode and
    the time that the system keeps. A file of this moment may change once more and show the same.
    """
    try:
        status = photo.path.stat()
    except OSError:
        return ""
    times = (status.st_mtime_ns, status.st_ctime_ns)
    if time.time_ns() - max(times) < SETTLED_NS:
        return ""
    return json.dumps([photo.name, status.st_ino, status.st_size, *times], ensure_ascii=False)


def load(file: Path) -> dict[str, str]:
    """The hashes that `store` kept, by identity; none if the file is missing or damaged."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    whole = isinstance(kept, dict) and all(isinstance(value, str) for value in kept.values())
    return kept if whole else {}


def find(photo: LabelledPhoto, identity: str, kept: Mapping[str, str]) -> Fact:
    """The photo's hash, kept or computed now, or why the file cannot be read."""
    sha256, reason = kept.get(identity, ""), ""
    if not sha256:
        try:
            sha256 = hashlib.sha256(read_photo(photo.path)).hexdigest()
        except DataError as error:
            reason = str(error)
    return Fact(photo.name, photo.label, jpeg="", sha256=sha256, reason=reason)


def store(file: Path, identities: Sequence[str], facts: Sequence[Fact], unfinished: Path) -> None:
    """Keep the hashes of these photos, and no others.

    Args:
        file: replaced as a whole, and only if something in it changes.
        identities: of the photos, from before they were read.
        facts: about the photos, in the same order. One that could not be read is left out, and so
            tried again.
        unfinished: a folder on the same disk.
    """
    pairs = zip(identities, facts, strict=True)
    hashes = {identity: fact.sha256 for identity, fact in pairs if identity and fact.sha256}
    if hashes != load(file):
        half = unfinished / FILE
        half.write_text(json.dumps(hashes, indent=0, ensure_ascii=False), encoding="utf-8")
        half.replace(file)
