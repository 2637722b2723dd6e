"""The head trained by Adam on features in memory: phase `frozen` with solver `adam`, but quick.

A tuner tries a hundred of them. Keras spends longer on tracing a model than this does on training
it; the steps are the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from components.training.head import Labelled, figures, logits

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7
"""Adam's (https://arxiv.org/abs/1412.6980), as in Keras."""


@dataclass(frozen=True)
class HeadSettings:
    """What a training of the head depends on, apart from the photos."""

    dropout: float
    label_smoothing: float
    batch_size: int
    learning_rate: float
    cosine: bool
    """Whether the learning rate falls to 0 over all the epochs."""
    epochs: int
    """How many a whole training has."""


class HeadEpochs:
    """A head in training, epoch by epoch, from random weights on."""

    def __init__(
        self,
        views: Sequence[Labelled],
        val: Labelled,
        *,
        class_weights: Sequence[float],
        settings: HeadSettings,
        seed: int,
    ) -> None:
        """Draws the weights.

        Args:
            views: of the training photos, at least one; epoch e sees view e % views.
            val: the validation photos.
            class_weights: of each class id.
            settings: of the training.
            seed: of the weights, the order of the photos and the dropout.
        """
        self._views, self._val, self._settings = views, val, settings
        self._weights = np.asarray(class_weights, np.float32)
        self._random = np.random.default_rng(seed)
        features, classes = views[0][0].shape[1], len(class_weights)
        bound = math.sqrt(6 / (features + classes))  # Keras' initial weights, glorot_uniform
        kernel = self._random.uniform(-bound, bound, (features, classes))
        self.head = np.vstack([kernel, np.zeros((1, classes))]).astype(np.float32)
        """The kernel, and the bias as its last row."""
        self._mean, self._square = np.zeros_like(self.head), np.zeros_like(self.head)
        self._epochs = self._steps = 0
        self.least = math.inf
        """The lowest validation loss after an epoch."""

    def train(self, until: int) -> float:
        """Goes on until so many epochs are done.

        Returns:
            The lowest validation loss so far.
        """
        while self._epochs < until:
            self._train_epoch(*self._views[self._epochs % len(self._views)])
            self._epochs += 1
            features, labels = self._val
            self.least = min(self.least, figures(logits(features, self.head), labels)["loss"])
        return self.least

    def _train_epoch(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        settings, classes = self._settings, len(self._weights)
        smoothing = np.float32(settings.label_smoothing)
        wanted = np.eye(classes, dtype=np.float32) * (1 - smoothing) + smoothing / classes
        order = self._random.permutation(len(labels))
        whole = settings.epochs * math.ceil(len(labels) / settings.batch_size)
        for begin in range(0, len(labels), settings.batch_size):
            batch = order[begin : begin + settings.batch_size]
            seen, ids = features[batch], labels[batch]
            if settings.dropout:
                kept = self._random.random(seen.shape, np.float32) >= settings.dropout
                seen *= kept / np.float32(1 - settings.dropout)
            told = log_softmax(logits(seen, self.head), axis=1)
            slope = (np.exp(told) - wanted[ids]) * (self._weights[ids] / len(ids))[:, None]
            rate = settings.learning_rate
            if settings.cosine:
                rate *= (1 + math.cos(math.pi * self._steps / whole)) / 2
            self._step(np.vstack([seen.T @ slope, slope.sum(axis=0)]), rate)

    def _step(self, slope: NDArray[np.float32], rate: float) -> None:
        self._steps += 1
        self._mean += (1 - _BETA_1) * (slope - self._mean)
        self._square += (1 - _BETA_2) * (slope * slope - self._square)
        rate *= math.sqrt(1 - _BETA_2**self._steps) / (1 - _BETA_1**self._steps)
        self.head -= np.float32(rate) * self._mean / (np.sqrt(self._square) + _EPSILON)
