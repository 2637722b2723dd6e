"""The one number that mends a classifier's probabilities."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

_DOUBLING = math.log(2)
"""How far from 1, as a logarithm, a temperature is expected to be before any photo is seen. Where
there are few photos, all of which are told rightly, the likelihood alone would ask for 0."""
_BOUND = math.log(10)


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The number that the logits are divided by to make the labels likeliest.

    Temperature scaling (https://arxiv.org/abs/1706.04599, section 4.2): no answer changes, only
    how sure it is. The temperature's logarithm has a normal prior around 0, which counts for
    nothing once there are some hundred photos.

    Args:
        logits: of photos that the model has not learnt from, [N, classes], N at least 1.
        labels: class ids [N].

    Returns:
        The temperature, in [0.1, 10]: above 1, the model was too sure.
    """

    def loss(logarithm: float) -> float:
        likelihood = log_softmax(logits / math.exp(logarithm), axis=1)
        told = likelihood[np.arange(len(labels)), labels].sum()
        return float((logarithm / _DOUBLING) ** 2 / 2 - told)

    found = minimize_scalar(loss, bounds=(-_BOUND, _BOUND), method="bounded")
    return math.exp(float(found.x))
