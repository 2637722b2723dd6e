"""The proof that no test photo was learnt from, and what it would have been worth to cheat.

The records are taken as they are: their photos are hashed and compared anew. Then the same
classifier is trained twice on a frozen backbone's features: on the splits of the records, and on
splits at random, as they are made where nobody looks for near-duplicates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.evaluation.report import wilson_interval
from components.model.auto import resolve_auto
from components.model.photo_features import photo_features
from components.model.settings import ModelSettings
from data import spans
from data.audit import SHARES
from data.contract import features
from data.contract.features import SPLITS, TEST, TRAIN, VAL
from data.contract.progress import tenths
from data.errors import DataError
from data.near_duplicates import find_components, find_pairs
from data.perceptual_hash import hash_changes
from data.photos import decode_photo

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Values of C, scikit-learn's inverse of the penalty's weight; the validation split chooses."""
RANDOM_SPLITS = 5


@dataclass(frozen=True)
class Proof:
    """What was found in the records of a span."""

    photos: int
    groups: int
    """Sets of photos that near-duplicates connect; a photo without any is one, too."""
    radius: int
    """Bits of 256 by which near-duplicates may differ, as ingestion chose it."""
    spanning: int
    """Groups with photos in two splits; none, unless something is wrong."""
    random_spanning: float
    """How many there are in splits at random, on average."""
    claimed: tuple[float, ...]
    """Test accuracy of each split at random."""
    honest: float
    """Test accuracy of the splits of the records."""
    tested: int
    """Photos in the records' test split."""


@dataclass(frozen=True)
class _Records:
    """The photos of a span: their JPEGs and, an array each, labels and splits."""

    jpegs: list[bytes]
    labels: NDArray[np.str_]
    splits: NDArray[np.str_]


def prove(records: Path, model: ModelSettings) -> Proof:
    """Compares all photos of a span's records, and trains on them twice.

    Args:
        records: a folder `span-N`, or one that holds such folders, of which the newest counts.
        model: the backbone and its weights; `auto` as in a run.

    Raises:
        DataError: there are no such records, or they are damaged.
        ComponentError: the backbone or its weights are not available.
    """
    span = _find_span(records)
    manifest = spans.read_manifest(span)
    spans.check_shards(span, manifest["shards"])
    found = _read(span)
    radius = manifest["alike"]["radius"]
    hashes = np.array([hash_changes(decode_photo(jpeg)) for jpeg in found.jpegs])
    groups = find_components(find_pairs(hashes, radius), len(found.jpegs))
    chosen = resolve_auto(model.backbone, model.weights)
    seen = photo_features(
        found.jpegs,
        count=len(found.jpegs),
        backbone=chosen.backbone,
        weights=chosen.weights,
        tell=tenths("seen"),
    )
    random = [_split_at_random(len(found.jpegs), seed) for seed in range(RANDOM_SPLITS)]
    return Proof(
        photos=len(found.jpegs),
        groups=len(np.unique(groups)),
        radius=radius,
        spanning=count_spanning(groups, found.splits),
        random_spanning=float(np.mean([count_spanning(groups, splits) for splits in random])),
        claimed=tuple(_test_accuracy(seen, found.labels, splits) for splits in random),
        honest=_test_accuracy(seen, found.labels, found.splits),
        tested=int((found.splits == TEST).sum()),
    )


def as_text(proof: Proof) -> str:
    """The proof as a table for the terminal."""
    low, high = wilson_interval(proof.honest, proof.tested)
    claimed = f"{np.mean(proof.claimed):.3f} ({min(proof.claimed):.3f} to {max(proof.claimed):.3f})"
    honest = f"{proof.honest:.3f} (95 % {low:.3f} to {high:.3f})"
    return (
        f"{proof.photos:,} photos in {proof.groups:,} groups of near-duplicates "
        f"(up to {proof.radius} of 256 bits differ)\n\n"
        f"{'':24}{'groups in two splits':>22}   accuracy on the test split\n"
        f"{f'{RANDOM_SPLITS} splits at random':24}{proof.random_spanning:>22.0f}   {claimed}\n"
        f"{'as these records are':24}{proof.spanning:>22}   {honest}"
    )


def count_spanning(groups: NDArray[np.int64], splits: NDArray[np.str_]) -> int:
    """How many groups have photos in more than one split, from arrays of one value a photo."""
    pairs = np.unique(np.stack([groups.astype(str), splits.astype(str)], axis=1), axis=0)
    _, times = np.unique(pairs[:, 0], return_counts=True)
    return int((times > 1).sum())


def _find_span(records: Path) -> Path:
    if (records / spans.MANIFEST).exists():
        return records
    newest = spans.find_newest(records) if records.is_dir() else None
    if newest is None:
        raise DataError(f"no records at {records}: name a folder span-N, or one that holds some")
    return newest


def _read(span: Path) -> _Records:
    rows = list(_read_rows(span))
    jpegs, labels, splits = zip(*rows, strict=True)
    return _Records(list(jpegs), np.array(labels), np.array(splits))


def _read_rows(span: Path) -> Iterator[tuple[bytes, str, str]]:
    for split in SPLITS:
        for file in sorted(span.glob(f"{split}-*.tfrecord.gz")):
            for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
                values = tf.train.Example.FromString(record).features.feature
                jpeg = values[features.IMAGE].bytes_list.value[0]
                yield jpeg, values[features.LABEL].bytes_list.value[0].decode(), split


def _split_at_random(photos: int, seed: int) -> NDArray[np.str_]:
    """Splits in the usual shares, with no regard to near-duplicates."""
    order = np.random.default_rng(seed).permutation(photos) / photos
    bounds = [SHARES[TRAIN], SHARES[TRAIN] + SHARES[VAL]]
    return np.array(SPLITS)[np.digitize(order, bounds)]


def _test_accuracy(
    seen: NDArray[np.float32], labels: NDArray[np.str_], splits: NDArray[np.str_]
) -> float:
    """Of logistic regression on features [N, D], its penalty chosen by validation."""
    parts = {split: (seen[splits == split], labels[splits == split]) for split in SPLITS}
    scored = []
    for strength in STRENGTHS:
        classifier = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
        probe = make_pipeline(StandardScaler(), classifier).fit(*parts[TRAIN])
        scored.append((probe.score(*parts[VAL]), probe.score(*parts[TEST])))
    return float(max(scored, key=lambda accuracies: accuracies[0])[1])
