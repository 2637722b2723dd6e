"""The photos under review and what the backbone makes of them, kept between two starts.

Neither TensorFlow nor Keras is imported unless something has changed: that alone takes longer than
all else that a second start does.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.model.backbone import module_of
from components.model.files import sha256
from data import spans
from data.contract.features import FILENAME, GROUP, IMAGE, LABEL, SHA256, SPLITS
from data.contract.progress import Tell
from pipeline.code_hash import code_hash

FILE = "photos.npz"
_CODE = "components.model.photo_features"


@dataclass(frozen=True)
class Photo:
    """One photo of the records."""

    name: str
    """Its file, relative to the source."""
    label: str
    sha256: str
    """Hexadecimal, of the file's bytes."""
    group: str
    """Photos of one group are copies or near-duplicates of each other."""


@dataclass(frozen=True)
class Backbone:
    """A backbone and its weights, neither of them `auto`."""

    name: str
    weights: str

    def fingerprint(self) -> str:
        """Hexadecimal: changes whenever the features could, as TFX's keys do."""
        file = Path(self.weights)
        content = sha256(file) if file.is_file() else ""
        return f"{code_hash(_CODE, module_of(self.name))} {self.name} {self.weights} {content}"


@dataclass(frozen=True)
class _Kept:
    """What the file holds."""

    span: str
    """What the span was made of: the manifest's `input`."""
    backbone: Backbone
    fingerprint: str
    """Of the backbone."""
    photos: list[Photo]
    features: NDArray[np.float32]
    """[N, D], in the order of the photos."""


def kept_backbone(folder: Path) -> Backbone | None:
    """What the folder's features were computed with, if there are any."""
    kept = _load(folder / FILE)
    return kept.backbone if kept else None


def read_photos(
    span: Path, folder: Path, backbone: Backbone, tell: Tell
) -> tuple[list[Photo], NDArray[np.float32]]:
    """The photos of a span, each file content once, and their pooled features.

    Args:
        span: the folder of the records.
        folder: where the features are kept; what it lacks is computed and added.
        backbone: what computes them.
        tell: is told how many photos of how many are computed.

    Returns:
        The photos, and their features float32 [N, D] in the same order.

    Raises:
        ComponentError: the features cannot be computed.
        OSError: they cannot be written.
    """
    made_of = spans.read_manifest(span)["input"]
    fingerprint = backbone.fingerprint()
    kept = _load(folder / FILE)
    known: Mapping[str, NDArray[np.float32]] = {}
    if kept and kept.fingerprint == fingerprint:
        if kept.span == made_of:
            return kept.photos, kept.features
        known = dict(zip((photo.sha256 for photo in kept.photos), kept.features, strict=True))
    photos, new = _read_records(span, known)
    if new:
        from components.model.photo_features import photo_features

        computed = photo_features(
            _jpegs(span, new),
            count=len(new),
            backbone=backbone.name,
            weights=backbone.weights,
            tell=tell,
        )
        known = {**known, **dict(zip(new, computed, strict=True))}
    features = np.stack([known[photo.sha256] for photo in photos])
    _store(folder, _Kept(made_of, backbone, fingerprint, photos, features))
    return photos, features


def _read_records(
    span: Path, known: Mapping[str, NDArray[np.float32]]
) -> tuple[list[Photo], list[str]]:
    """The photos, each file content once, and the hashes of those without features."""
    photos: dict[str, Photo] = {}
    for values in _records(span):
        name, label, sha256, group = (
            values[key].bytes_list.value[0].decode() for key in (FILENAME, LABEL, SHA256, GROUP)
        )
        photos.setdefault(sha256, Photo(name, label, sha256, group))
    return list(photos.values()), [each for each in photos if each not in known]


def _jpegs(span: Path, wanted: Sequence[str]) -> Iterator[bytes]:
    """The photos with these hashes, which are in the order of the records."""
    waiting = iter(wanted)
    following = next(waiting)
    for values in _records(span):
        if values[SHA256].bytes_list.value[0].decode() == following:
            yield values[IMAGE].bytes_list.value[0]
            following = next(waiting, "")


def _records(span: Path) -> Iterator[Any]:
    """The features of every record, split by split."""
    import tensorflow as tf

    for split in SPLITS:
        files = sorted(map(str, span.glob(f"{split}-*.tfrecord.gz")))
        for record in tf.data.TFRecordDataset(files, compression_type="GZIP"):
            yield tf.train.Example.FromString(record.numpy()).features.feature


def _load(file: Path) -> _Kept | None:
    """What `_store` kept; None if the file is missing or damaged, so that it is made again."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            features = arrays["features"]
        return _Kept(
            about["span"],
            Backbone(**about["backbone"]),
            about["fingerprint"],
            [Photo(*row) for row in about["photos"]],
            features,
        )
    except Exception:  # zipfile, zlib and numpy each have their own
        return None


def _store(folder: Path, kept: _Kept) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "span": kept.span,
        "backbone": vars(kept.backbone),
        "fingerprint": kept.fingerprint,
        "photos": [[each.name, each.label, each.sha256, each.group] for each in kept.photos],
    }
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{FILE}.", delete=False) as unfinished:
        try:
            np.savez(
                unfinished,
                about=np.frombuffer(json.dumps(about).encode(), np.uint8),
                features=kept.features,
            )
            unfinished.flush()
            Path(unfinished.name).replace(folder / FILE)
        except BaseException:
            Path(unfinished.name).unlink(missing_ok=True)
            raise
