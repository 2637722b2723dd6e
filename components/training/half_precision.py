"""Training in float16 where the GPUs have cores for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from components.training.machines import gpus

_TENSOR_CORES = (7, 0)
"""The first compute capability with matrix products in float16:
https://docs.nvidia.com/deeplearning/performance/mixed-precision-training."""


@contextmanager
def half_precision(model: keras.Model) -> Iterator[None]:
    """Lets a model compute in float16 within the block, if all GPUs are faster so.

    Its variables and its last layer stay float32. Nothing is left of it after the block: what is
    exported computes in float32, wherever it is served.

    Args:
        model: is to be compiled within the block, so that its optimizer scales the loss.
    """
    if not _is_faster():
        yield
        return
    layers = list(model._flatten_layers())
    last = _last_layer(model)
    before = [layer.dtype_policy for layer in layers]
    for layer in layers:
        if layer is not last:
            layer.dtype_policy = "mixed_float16"
    try:
        yield
    finally:
        for layer, policy in zip(layers, before, strict=True):
            layer.dtype_policy = policy


def _last_layer(model: keras.Model) -> keras.layers.Layer:
    """What computes the output, however deep in models of models."""
    last = model.layers[-1]
    return _last_layer(last) if isinstance(last, keras.Model) else last


def _is_faster() -> bool:
    found = gpus()
    return bool(found) and min(found) >= _TENSOR_CORES
