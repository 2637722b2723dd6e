"""The head at its optimum: what phase `frozen` looks for, found at once instead of by epochs.

On features that no training changes, the head is a multinomial logistic regression, whose loss has
one minimum. To begin phase `unfrozen` there keeps the first, large gradients of an untrained head
away from the backbone: https://arxiv.org/abs/2202.10054.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from components.errors import ComponentError
from components.training.history import Epoch

PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""What is tried, the strongest first; the first that is no better than the one before it ends the
search. On 2,817 photos of dogs 1 wins."""
FOLDS = 4
MAX_ITERATIONS = 300
"""Of L-BFGS, which takes some 30 with the penalty that wins."""
POINTS = 10
"""Iterations that are shown: as many as an ordinary phase has epochs."""

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Pooled features [N, features] and class ids [N]."""


@dataclass(frozen=True)
class SolvedHead:
    """The optimum, and the way there.

    Attributes:
        kernel: float32 [features, classes].
        bias: float32 [classes].
        penalty: that was chosen.
        iterations: how many L-BFGS took.
        curve: accuracy and loss after at most `POINTS` of them, evenly apart; the last one is the
            optimum.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float
    iterations: int
    curve: list[Epoch]


def solve_head(
    views: Sequence[Labelled], val: Labelled, *, class_weights: Sequence[float], seed: int
) -> SolvedHead:
    """Finds the head with the least loss on the training photos, its penalty by cross-validation.

    Minimizes the weighted mean of the cross-entropy plus penalty / 2 times the kernel's squared
    length, on features that are centred and divided by their mean standard deviation. The
    cross-validation takes the first view alone, so that no photo is on both of its sides.

    Args:
        views: of the training photos, at least one, at least `FOLDS` photos.
        val: the validation photos, which decide nothing here.
        class_weights: of each class id.
        seed: of the folds.

    Raises:
        ComponentError: a feature is not a number.
    """
    features, labels = (np.concatenate(each) for each in zip(*views, strict=True))
    if not np.isfinite(features).all():
        raise ComponentError("features that are not finite: take other weights (model.weights)")
    centre = features.mean(axis=0)
    scale = features.std(axis=0).mean() or np.float32(1)

    def scaled(features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (features - centre) / scale

    weights = np.asarray(class_weights, np.float32)
    penalty = _choose_penalty(scaled(views[0][0]), views[0][1], weights, seed)
    features, seen = scaled(features), scaled(val[0])
    start = np.zeros((features.shape[1] + 1, len(weights)), np.float32)
    heads = [start]
    head = _minimize(features, labels, weights, penalty, start, heads.append)
    kernel = head[:-1] / scale
    shown = sorted({len(heads) - 1 - len(heads) * point // POINTS for point in range(POINTS)})
    return SolvedHead(
        kernel,
        head[-1] - centre @ kernel,
        penalty,
        iterations=len(heads) - 1,
        curve=[
            {
                **figures(logits(features, heads[index]), labels),
                **{
                    f"val_{name}": value
                    for name, value in figures(logits(seen, heads[index]), val[1]).items()
                },
            }
            for index in shown
        ],
    )


def _choose_penalty(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float32],
    seed: int,
) -> float:
    """The penalty with the least loss on the folds that its heads have not seen."""
    fold = np.random.default_rng(seed).permutation(len(labels)) % FOLDS
    heads = [np.zeros((features.shape[1] + 1, len(weights)), np.float32)] * FOLDS
    best, least = PENALTIES[0], np.inf
    for penalty in PENALTIES:
        # From the optimum of the penalty before: it is near.
        heads = [
            _minimize(features[fold != i], labels[fold != i], weights, penalty, head)
            for i, head in enumerate(heads)
        ]
        loss = sum(
            _loss(logits(features[fold == i], head), labels[fold == i], weights)[0]
            for i, head in enumerate(heads)
        )
        if loss >= least:
            break
        best, least = penalty, loss
    return best


def _minimize(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: NDArray[np.float32],
    penalty: float,
    start: NDArray[np.float32],
    note: Callable[[NDArray[np.float32]], None] | None = None,
) -> NDArray[np.float32]:
    """The kernel, and the bias as its last row, with the least loss; `note` sees each iterate."""

    def as_head(parameters: NDArray[np.float64]) -> NDArray[np.float32]:
        return parameters.reshape(start.shape).astype(np.float32)

    def objective(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        head = as_head(parameters)
        loss, gradient = _loss(logits(features, head), labels, weights)
        pull = penalty * np.vstack([head[:-1], np.zeros_like(head[-1:])])
        slope = np.vstack([features.T @ gradient, gradient.sum(axis=0)]) + pull
        return loss + float((pull * head).sum()) / 2, slope.ravel().astype(np.float64)

    found = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=(lambda parameters: note(as_head(parameters))) if note else None,
        options={"maxiter": MAX_ITERATIONS},
    )
    return as_head(found.x)


def logits(features: NDArray[np.float32], head: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a head makes of features, [N, classes]; the last row of a head is its bias."""
    return features @ head[:-1] + head[-1]


def figures(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Epoch:
    """`accuracy` and `loss`, the mean cross-entropy, of logits [N, classes]."""
    told = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return {
        "accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "loss": float(-told.mean(dtype=np.float64)),
    }


def _loss(
    logits: NDArray[np.float32], labels: NDArray[np.int64], weights: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    """The weighted mean of the cross-entropy, and its slope by each logit, [N, classes]."""
    told, rows = log_softmax(logits, axis=1), np.arange(len(labels))
    shares = weights[labels] / weights[labels].sum()
    slope = np.exp(told)
    slope[rows, labels] -= 1
    return float(-(shares * told[rows, labels]).sum(dtype=np.float64)), slope * shares[:, None]
