"""The photos under review and what the backbone makes of them, kept between two starts.

Neither TensorFlow nor Keras is imported unless something has changed: that alone takes longer than
all else that a second start does.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.model import files
from components.model.backbone import module_of
from data import span_photos
from data.contract.progress import Tell
from data.relabels import LEFT_OUT
from pipeline.code_hash import code_hash

FILE = "features.npz"
_CODE = "components.model.photo_features"


@dataclass(frozen=True)
class Photo:
    """One photo of the records, or one that they would hold if its label were certain."""

    name: str
    """Its file, relative to the source."""
    label: str
    sha256: str
    """Hexadecimal, of the file's bytes."""
    group: str
    """Photos of one group are copies or near-duplicates of each other."""
    conflict: str = ""
    """Why the records do not hold it, if they do not."""


@dataclass(frozen=True)
class Backbone:
    """A backbone and its weights, neither of them `auto`."""

    name: str
    weights: str

    def fingerprint(self) -> str:
        """Hexadecimal: changes whenever the features could, as TFX's keys do."""
        file = Path(self.weights)
        content = files.sha256(file) if file.is_file() else ""
        return f"{code_hash(_CODE, module_of(self.name))} {self.name} {self.weights} {content}"


@dataclass(frozen=True)
class _Kept:
    """What the file holds."""

    backbone: Backbone
    fingerprint: str
    """Of the backbone."""
    features: dict[str, NDArray[np.float32]]
    """[D] of each photo, by the hash of its file."""


def kept_backbone(folder: Path) -> Backbone | None:
    """What the folder's features were computed with, if there are any."""
    kept = _load(folder / FILE)
    return kept.backbone if kept else None


def read_photos(span: Path) -> list[Photo]:
    """The photos of a span and those in conflict, each content of a file once, in the order of the
    span's tables. What someone has left out is not among them.

    Raises:
        DataError: a table is damaged.
    """
    found: dict[str, Photo] = {}
    for name, label, _, group, _, sha256 in span_photos.read_table(span):
        found.setdefault(sha256, Photo(name, label, sha256, group))
    for name, label, group, reason, sha256 in span_photos.read_conflicts(span):
        if reason != LEFT_OUT:
            found.setdefault(sha256, Photo(name, label, sha256, group, reason))
    return list(found.values())


def features_of(
    photos: Sequence[Photo],
    span: Path,
    read: Callable[[int], bytes],
    folder: Path,
    backbone: Backbone,
    tell: Tell,
) -> NDArray[np.float32]:
    """What a backbone makes of photos: what is kept, and the rest computed and kept.

    Args:
        photos: as `read_photos` gives them.
        span: the folder of the records.
        read: the JPEG of the photo at a position, for those that the records do not hold.
        folder: where the features are kept.
        backbone: what computes them.
        tell: is told how many photos of how many are computed.

    Returns:
        float32 [N, D], in the order of the photos.

    Raises:
        ComponentError: the features cannot be computed.
        OSError: they cannot be written.
    """
    fingerprint = backbone.fingerprint()
    kept = _load(folder / FILE)
    features = kept.features if kept and kept.fingerprint == fingerprint else {}
    missing = {photo.sha256 for photo in photos} - features.keys()
    if missing:
        from components.model.photo_features import photo_features

        order: list[str] = []
        in_conflict = {
            photo.sha256: position
            for position, photo in enumerate(photos)
            if photo.conflict and photo.sha256 in missing
        }
        from_files = (read(position) for position in in_conflict.values())
        computed = photo_features(
            chain(_jpegs(span, missing - in_conflict.keys(), order), from_files),
            count=len(missing),
            backbone=backbone.name,
            weights=backbone.weights,
            tell=tell,
        )
        features |= zip([*order, *in_conflict], computed, strict=True)
        _store(folder, _Kept(backbone, fingerprint, features))
    return np.stack([features[photo.sha256] for photo in photos])


def _jpegs(span: Path, wanted: Set[str], order: list[str]) -> Iterator[bytes]:
    """The photos with these hashes, each once, as the records hold them; `order` gets the hashes
    in the order in which they come."""
    from data.records import read_records

    waiting = set(wanted)
    for record in read_records(span):
        if record.sha256 in waiting:
            waiting.remove(record.sha256)
            order.append(record.sha256)
            yield record.jpeg


def _load(file: Path) -> _Kept | None:
    """What `_store` kept; None if the file is missing or damaged, so that it is made again."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            features = dict(zip(arrays["photos"].tolist(), arrays["features"], strict=True))
        return _Kept(Backbone(**about["backbone"]), about["fingerprint"], features)
    except Exception:  # zipfile, zlib and numpy each have their own
        return None


def _store(folder: Path, kept: _Kept) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"backbone": vars(kept.backbone), "fingerprint": kept.fingerprint}
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{FILE}.", delete=False) as unfinished:
        try:
            np.savez(
                unfinished,
                about=np.frombuffer(json.dumps(about).encode(), np.uint8),
                photos=np.array(list(kept.features)),
                features=np.stack(list(kept.features.values())),
            )
            unfinished.flush()
            Path(unfinished.name).replace(folder / FILE)
        except BaseException:
            Path(unfinished.name).unlink(missing_ok=True)
            raise
