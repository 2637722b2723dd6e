"""What a review finds and what it is worth, where it is known which labels are wrong.

A tenth of the training labels are flipped. The rest is as in `dog-emotion review`: out-of-fold
probabilities of a logistic regression on the backbone's pooled features, ranked. An oracle then
looks at the top of the list and sets right what was flipped. The labels of the test photos, which
share no near-duplicate with training, are left as they are.

    python -m benchmarks.label_noise PHOTOS
"""

import argparse
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from components.model.auto import resolve_auto
from data.contract.progress import tenths
from data.folder import list_photos
from data.ingest import ingest
from pipeline.linear_head import new_head
from pipeline.review.photos import Backbone, features_of, read_photos
from pipeline.review.ranking import STRENGTH, Features, Ids, most_doubtful_first, out_of_fold
from pipeline.review.server import photo_reader

FLIPPED = 0.1
"""Of the training labels."""
TEST_FOLDS = 5
"""One of which is for the test."""
SEEDS = 10

Groups = NDArray[np.str_]


@dataclass(frozen=True)
class Figures:
    """Of one seed; k is how many labels were flipped."""

    precision_half: float
    """The share of flipped labels in the top k/2."""
    precision: float
    """The same in the top k, which is also the share of the flipped labels that are there."""
    recall_half: float
    """The share of the flipped labels that are in the top k/2."""
    before: float
    """Test accuracy with the flipped labels, as are all below: with the flipped labels put right
    among ..."""
    random: float
    """... k photos at random."""
    half: float
    """... the top k/2."""
    reviewed: float
    """... the top k."""
    perfect: float
    """... all."""


def flip(labels: Ids, share: float, seed: int) -> Ids:
    """The labels with a share of them changed, each to another class, all equally probable.

    Args:
        labels: [N], in [0, K).
        share: of the N, rounded down.
        seed: another one chooses others.
    """
    rng = np.random.default_rng(seed)
    classes = int(labels.max()) + 1
    chosen = rng.choice(len(labels), int(share * len(labels)), replace=False)
    flipped = labels.copy()
    flipped[chosen] = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return flipped


def measure(features: Features, labels: Ids, groups: Groups, seed: int) -> Figures:
    """The figures of one seed, which decides on the test photos, the flips and the random review.

    Args:
        features: [N, D].
        labels: [N], in [0, K), as they are without flips.
        groups: [N]; photos of one group are near-duplicates.
        seed: any.
    """
    folds = StratifiedGroupKFold(TEST_FOLDS, shuffle=True, random_state=seed)
    train, test = next(folds.split(features, labels, groups))
    right = labels[train]
    flipped = flip(right, FLIPPED, seed)
    wrong = flipped != right
    count = int(wrong.sum())
    order = most_doubtful_first(flipped, out_of_fold(features[train], flipped, groups[train]))
    at_random = np.random.default_rng(seed + 1).permutation(len(train))

    def accuracy(seen: Ids) -> float:
        mended = flipped.copy()
        mended[seen] = right[seen]
        head = new_head(STRENGTH).fit(features[train], mended)
        return float(head.score(features[test], labels[test]))

    half = count // 2
    return Figures(
        precision_half=float(wrong[order[:half]].mean()),
        precision=float(wrong[order[:count]].mean()),
        recall_half=float(wrong[order[:half]].sum() / count),
        before=accuracy(order[:0]),
        random=accuracy(at_random[:count]),
        half=accuracy(order[:half]),
        reviewed=accuracy(order[:count]),
        perfect=accuracy(order),
    )


ROWS: Mapping[str, Callable[[Figures], float]] = {
    "precision of the top k/2": lambda f: f.precision_half,
    "recall of the top k/2": lambda f: f.recall_half,
    "precision and recall of the top k": lambda f: f.precision,
    "test accuracy, a tenth flipped": lambda f: f.before,
    "  k reviewed at random": lambda f: f.random,
    "  the top k/2 reviewed": lambda f: f.half,
    "  the top k reviewed": lambda f: f.reviewed,
    "  no label flipped": lambda f: f.perfect,
    "gain: k reviewed at random": lambda f: f.random - f.before,
    "gain: the top k/2 reviewed": lambda f: f.half - f.before,
    "gain: the top k reviewed": lambda f: f.reviewed - f.before,
    "gain: no label flipped": lambda f: f.perfect - f.before,
    "the top k, rather than k at random": lambda f: f.reviewed - f.random,
}
"""What is printed of the figures; differences are within a seed."""


def as_text(figures: Sequence[Figures]) -> str:
    """A table of means over the seeds, their standard errors, and the spread of the seeds."""
    lines = [f"{'':<36}{'mean':>8}{'+-':>8}{'from':>8}{'to':>8}"]
    for name, read in ROWS.items():
        values = [read(each) for each in figures]
        error = statistics.stdev(values) / math.sqrt(len(values))
        cells = (statistics.mean(values), error, min(values), max(values))
        lines.append(f"{name:<36}" + "".join(f"{cell:>8.3f}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="class folders, or a CSV of path,label")
    parser.add_argument(
        "--workdir", type=Path, default=Path("runs/label-noise"), help="(default: %(default)s)"
    )
    options = parser.parse_args()
    span = ingest(options.photos, options.workdir / "data", progress=tenths("read")).span_dir
    resolved = resolve_auto("auto", "auto")
    backbone = Backbone(resolved.backbone, resolved.weights)
    photos = [photo for photo in read_photos(span) if not photo.conflict]
    listed = {photo.name: photo for photo in list_photos(options.photos)}
    features = features_of(
        photos,
        span,
        photo_reader(listed, photos),
        options.workdir / "review",
        backbone,
        tenths("features"),
    )
    labels = np.unique([photo.label for photo in photos], return_inverse=True)[1]
    groups = np.array([photo.group for photo in photos])
    print(f"{len(photos):,} photos in {len(set(groups)):,} groups, {backbone.name}", flush=True)
    figures = []
    for seed in range(SEEDS):
        figures.append(measure(features, labels, groups, seed))
        print(f"seed {seed}: {figures[-1]}", flush=True)
    print(f"\nk is {FLIPPED:.0%} of the training photos; {SEEDS} seeds\n{as_text(figures)}")


if __name__ == "__main__":
    main()
