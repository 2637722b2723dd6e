"""Photos to the pooled features of a backbone, for whatever looks at photos without training."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.errors import ComponentError
from components.model.extractor import Extractor
from components.model.parallel import in_parallel
from components.model.preprocessing import decode_and_fit
from components.model.weights import build_backbone
from data.contract.images import IMAGE_SIDE
from data.contract.progress import Tell

_BATCH = 16
"""Photos per forward pass."""


def photo_features(
    jpegs: Iterable[bytes], *, count: int, backbone: str, weights: str, tell: Tell
) -> NDArray[np.float32]:
    """What the frozen backbone makes of each photo: the global average of its output.

    Photos are read as they are needed, a few batches ahead.

    Args:
        jpegs: JPEG or PNG bytes, upright, as the records hold them.
        count: how many there are.
        backbone: one of `backbone.names()`.
        weights: as `build_backbone` takes them.
        tell: is told how many photos of `count` are done.

    Returns:
        float32 [count, D], in the order of the photos.

    Raises:
        ComponentError: the backbone or its weights are not available, or a feature is not finite.
        tf.errors.InvalidArgumentError: a photo cannot be decoded.
    """
    model, _ = build_backbone(backbone, weights)
    extractor = Extractor(model, model.layers[-1].name)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def pooled(encoded: tf.Tensor) -> tf.Tensor:
        images = tf.map_fn(
            decode_and_fit,
            encoded,
            fn_output_signature=tf.TensorSpec([IMAGE_SIDE, IMAGE_SIDE, 3], tf.float32),
        )
        return extractor(images)[1]

    found, done = [], 0
    for batch in in_parallel(pooled, _batches(jpegs)):
        found.append(batch.numpy())
        done += len(batch)
        tell(done, count)
    features = np.concatenate(found)
    if not np.isfinite(features).all():
        raise ComponentError(
            f"weights {weights!r}: what {backbone} computes with them is not finite; name others "
            "by --set model.weights=FILE"
        )
    return features


def _batches(jpegs: Iterable[bytes]) -> Iterator[tuple[list[bytes]]]:
    photos = iter(jpegs)
    while batch := list(itertools.islice(photos, _BATCH)):
        yield (batch,)
