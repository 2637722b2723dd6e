"""A logistic regression on the frozen layers' features: the best that the frozen phase can reach.

C is chosen by the accuracy on the validation photos; the test photos are looked at once.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.model.photo_features import photo_features
from components.training.cache.format import POOLED, WEIGHTS, read_manifest
from components.training.cache.reading import training_batches, validation_batches
from data.contract.features import TEST, TRAIN, VAL
from data.contract.progress import tenths
from data.records import read_records
from data.spans import find_newest

STRENGTHS = [10 ** (half / 2) for half in range(-10, 1)]
"""Values of C, scikit-learn's inverse of the penalty's weight."""
BATCH = 256

Features = tuple[NDArray[np.float32], NDArray[np.int64]]


def read_features(workdir: Path) -> dict[str, Features]:
    """Pooled features float32 [N, D] and labels int64 [N] of each split, all views of train.

    Those of the test photos are not in the cache, and are computed.
    """
    made = (workdir / "pipeline" / "ActivationCache" / "activations").glob("*")
    activations = str(max(made, key=lambda folder: int(folder.name)))
    manifest = read_manifest(activations)
    steps = manifest.views * math.ceil(manifest.photos[TRAIN] / BATCH)
    train = training_batches(activations, POOLED, batch_size=BATCH, seed=0, first_epoch=0)
    span = find_newest(workdir / "data")
    if span is None:
        raise SystemExit(f"probe: no photos in {workdir / 'data'}")
    test = [record for record in read_records(span) if record.split == TEST]
    features = photo_features(
        (record.jpeg for record in test),
        count=len(test),
        backbone=manifest.backbone,
        weights=f"{activations}/{WEIGHTS}",
        tell=tenths("  features"),
    )
    classes = json.loads((workdir / "config.json").read_text())["classes"]
    labels = np.array([classes.index(record.label) for record in test])
    return {
        TRAIN: _joined(train.take(steps)),
        VAL: _joined(validation_batches(activations, POOLED, batch_size=BATCH)),
        TEST: (features, labels),
    }


def _joined(batches: tf.data.Dataset) -> Features:
    features, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(features), np.concatenate(labels)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path, help="of a run")
    options = parser.parse_args()
    splits = read_features(options.workdir)
    probes = []
    for strength in STRENGTHS:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        probe.fit(*splits[TRAIN])
        probes.append((probe.score(*splits[VAL]), probe))
        print(f"C {strength:g}: val {probes[-1][0]:.3f}", flush=True)
    accuracy, probe = max(probes, key=lambda scored: scored[0])
    chosen = probe[-1].C
    print(f"probe C {chosen:g}: val {accuracy:.3f}, test {probe.score(*splits[TEST]):.3f}")


if __name__ == "__main__":
    main()
