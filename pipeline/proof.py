"""The proof that no test photo was learnt from, and what it would have been worth to cheat.

The records are taken as they are: their photos are hashed and compared anew. Then the same
classifier is trained twice on a frozen backbone's features: on the splits of the records, and on
splits at random, as they are made where nobody looks for near-duplicates.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.evaluation.chance import wilson_interval
from components.model.auto import resolve_auto
from components.model.photo_features import photo_features
from components.model.settings import ModelSettings
from data import spans
from data.audit import SHARES
from data.contract.features import SPLITS, TEST, TRAIN, VAL
from data.contract.progress import tenths
from data.errors import DataError
from data.near_duplicates import find_components, find_pairs
from data.perceptual_hash import hash_changes
from data.photos import decode_photo
from data.records import read_records
from pipeline.linear_head import new_head

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Values of C, scikit-learn's inverse of the penalty's weight; the validation split chooses."""
RANDOM_SPLITS = 5


@dataclass(frozen=True)
class Proof:
    """What was found in the records of some spans."""

    photos: int
    groups: int
    """Sets of photos that near-duplicates connect; a photo without any is one, too."""
    radii: tuple[int, ...]
    """Bits of 256 by which near-duplicates may differ, as ingestion chose them for each span. The
    smallest counts: photos that are further apart were free to go to two splits."""
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


def prove(records: Path, model: ModelSettings) -> Proof:
    """Compares all photos of a span's records, and trains on them twice.

    Args:
        records: a folder `span-N`, or one that holds such folders: then the newest counts. The
            spans that it adds to are looked at with it.
        model: the backbone and its weights; `auto` as in a run.

    Raises:
        DataError: there are no such records, they are damaged, or near-duplicates could not be told
            when they were made.
        ComponentError: the backbone or its weights are not available.
    """
    folders = find_spans(records)
    manifests = [spans.read_manifest(folder) for folder in folders]
    for folder, manifest in zip(folders, manifests, strict=True):
        spans.check_shards(folder, manifest["shards"])
        if "alike" not in manifest:
            raise DataError(f"{folder} is from before near-duplicates were looked for: ingest anew")
    radii = tuple(manifest["alike"]["radius"] for manifest in manifests)
    if min(radii) < 0:
        raise DataError(
            f"nothing can be proved of {records}: its photos were too few, or too much like each "
            "other, to tell near-duplicates from others"
        )
    found = [record for folder in folders for record in read_records(folder)]
    jpegs = [record.jpeg for record in found]
    labels = np.array([record.label for record in found])
    splits = np.array([record.split for record in found])
    hashes = np.array([hash_changes(decode_photo(jpeg)) for jpeg in jpegs])
    groups = find_components(find_pairs(hashes, min(radii)), len(jpegs))
    chosen = resolve_auto(model.backbones[0], model.weights)
    seen = photo_features(
        jpegs,
        count=len(jpegs),
        backbone=chosen.backbone,
        weights=chosen.weights,
        tell=tenths("seen"),
    )
    random = [_split_at_random(len(jpegs), seed) for seed in range(RANDOM_SPLITS)]
    return Proof(
        photos=len(jpegs),
        groups=len(np.unique(groups)),
        radii=radii,
        spanning=count_spanning(groups, splits),
        random_spanning=float(np.mean([count_spanning(groups, each) for each in random])),
        claimed=tuple(_test_accuracy(seen, labels, each) for each in random),
        honest=_test_accuracy(seen, labels, splits),
        tested=int((splits == TEST).sum()),
    )


def as_text(proof: Proof) -> str:
    """The proof as a table for the terminal."""
    low, high = wilson_interval(proof.honest, proof.tested)
    claimed = f"{np.mean(proof.claimed):.3f} ({min(proof.claimed):.3f} to {max(proof.claimed):.3f})"
    honest = f"{proof.honest:.3f} (95 % {low:.3f} to {high:.3f})"
    largest, smallest = max(proof.radii), min(proof.radii)
    chosen = f", the least of {smallest} to {largest} in these spans" if largest > smallest else ""
    return (
        f"{proof.photos:,} photos in {proof.groups:,} groups of near-duplicates "
        f"(up to {smallest} of 256 bits differ{chosen})\n\n"
        f"{'':24}{'groups in two splits':>22}   accuracy on the test split\n"
        f"{f'{RANDOM_SPLITS} splits at random':24}{proof.random_spanning:>22.0f}   {claimed}\n"
        f"{'as these records are':24}{proof.spanning:>22}   {honest}"
    )


def count_spanning(groups: NDArray[np.integer], splits: NDArray[np.str_]) -> int:
    """How many groups have photos in more than one split, from arrays of one value a photo."""
    pairs = np.unique(np.stack([groups.astype(str), splits.astype(str)], axis=1), axis=0)
    _, times = np.unique(pairs[:, 0], return_counts=True)
    return int((times > 1).sum())


def find_spans(records: Path) -> list[Path]:
    """The spans to look at: that folder, or the newest one in it, and those that it adds to.

    Raises:
        DataError: there are none.
    """
    is_span = (records / spans.MANIFEST).exists()
    newest = records if is_span or not records.is_dir() else spans.find_newest(records)
    if newest is None or not newest.is_dir():
        raise DataError(f"no records at {records}: name a folder span-N, or one that holds some")
    newest = newest.absolute()
    return [newest, *spans.find_added_to(newest)]


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
        probe = new_head(strength).fit(*parts[TRAIN])
        scored.append((probe.score(*parts[VAL]), probe.score(*parts[TEST])))
    return float(max(scored, key=lambda accuracies: accuracies[0])[1])
