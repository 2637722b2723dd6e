"""Photos that spans hold as they would be prepared now: they are taken over, to the bit.

So a span after a few corrections, or with a few photos more, is made of the records of those before
it, and only what none of them holds is read, decoded and hashed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data import span_photos, spans
from data.errors import DataError
from data.folder import LabelledPhoto
from data.perceptual_hash import Hashes


class HeldPhoto(NamedTuple):
    """What a span's tables say of a photo; all else is in its record."""

    sha256: str
    """Of the file's bytes, hexadecimal, as `pixels`, of the upright pixels at full size."""
    pixels: str
    hashes: Hashes
    """[HASHES, 32]"""


@dataclass(frozen=True)
class HeldPhotos:
    """Photos of a source that spans hold."""

    photos: Mapping[LabelledPhoto, HeldPhoto]
    shards: tuple[str, ...]
    """Files in which each of them has a record, beside other photos."""


NONE_HELD = HeldPhotos({}, ())


def find_held(
    photos: Sequence[LabelledPhoto], sha256s: Sequence[str], folders: Sequence[Path], code: str
) -> tuple[HeldPhotos, list[str]]:
    """The photos that some spans hold, from the newest of them that does.

    Args:
        photos: of the source.
        sha256s: of their files, in the same order; empty where there is none.
        folders: the spans.
        code: stands for the code that prepares photos now. What other code has prepared may differ.

    Returns:
        The photos, and a line about each span that cannot be used because it is damaged.
    """
    wanted = set(sha256s) - {""}
    found: dict[str, HeldPhoto] = {}
    shards: list[str] = []
    remarks = []
    for folder in sorted(folders, key=spans.read_number, reverse=True):
        if not wanted:
            break
        try:
            manifest = spans.read_manifest(folder)
            if manifest.get("code") != code:
                continue
            held = span_photos.read([folder])
            rows = dict(zip(held.sha256s, zip(held.pixels, held.hashes, strict=True), strict=True))
            if not wanted & rows.keys():
                continue
            spans.check_shards(folder, manifest["shards"])
        except DataError as error:
            remarks.append(f"nothing is taken over from {folder.name}: {error}")
            continue
        found |= {sha256: HeldPhoto(sha256, *rows[sha256]) for sha256 in wanted & rows.keys()}
        wanted -= rows.keys()
        shards += (str(folder / name) for name in manifest["shards"])
    held_photos = {
        photo: found[sha256]
        for photo, sha256 in zip(photos, sha256s, strict=True)
        if sha256 in found
    }
    return HeldPhotos(held_photos, tuple(shards)), remarks
