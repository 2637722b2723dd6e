"""A logistic regression on the cache's pooled features: what the frozen phase can reach at best.

C is chosen by the accuracy on the validation photos; the test photos are looked at once.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.training.cache.format import POOLED, read_manifest
from components.training.cache.reading import evaluation_batches, training_batches
from data.contract.features import TEST, TRAIN, VAL

STRENGTHS = [10 ** (half / 2) for half in range(-10, 1)]
"""Of C, scikit-learn's inverse of the penalty's weight."""
BATCH = 256

Features = tuple[NDArray[np.float32], NDArray[np.int64]]


def read_features(activations: str) -> dict[str, Features]:
    """Pooled features float32 [N, D] and labels int64 [N] of each split, all views of train."""
    manifest = read_manifest(activations)
    steps = manifest.views * math.ceil(manifest.photos[TRAIN] / BATCH)
    train = training_batches(activations, POOLED, batch_size=BATCH, seed=0, first_epoch=0)
    batches = {TRAIN: train.take(steps)}
    for split in (VAL, TEST):
        batches[split] = evaluation_batches(activations, split, POOLED, batch_size=BATCH)
    return {split: _joined(batches[split]) for split in batches}


def _joined(batches: tf.data.Dataset) -> Features:
    features, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(features), np.concatenate(labels)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "activations",
        type=Path,
        help="a folder of activations, as in WORKDIR/pipeline/ActivationCache/activations/7",
    )
    options = parser.parse_args()
    splits = read_features(str(options.activations))
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
