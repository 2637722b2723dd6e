"""A backbone's weights: loading them, and telling them from others."""

import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from components.errors import ComponentError
from components.model.backbone import ImageNet, WeightsOrigin, find
from components.model.files import one_line, sha256
from components.staging import readable

AUTO, IMAGENET, RANDOM = "auto", "imagenet", "random"
"""What may be given as weights, besides a file."""

_SUFFIXES = (".weights.h5", ".h5", ".keras")


def imagenet_of(name: str) -> ImageNet:
    """The ImageNet weights of a backbone.

    Raises:
        ComponentError: it has none.
    """
    if (imagenet := find(name).imagenet) is None:
        raise ComponentError(f"backbone {name} has no {IMAGENET} weights")
    return imagenet


def require_weights_file(weights: str) -> None:
    """Checks the name of a weights file and, if it is local, that it exists.

    Raises:
        ComponentError: it cannot be one, or is missing.
    """
    if not weights.endswith(_SUFFIXES):
        raise ComponentError(
            f"weights {weights!r}: give {AUTO}, {IMAGENET}, {RANDOM} "
            f"or a file that ends in {', '.join(_SUFFIXES)}"
        )
    if "://" not in weights and not Path(weights).is_file():
        raise ComponentError(f"weights {weights!r}: there is no such file")


def build_backbone(name: str, weights: str) -> tuple[keras.Model, WeightsOrigin]:
    """Builds a backbone with its weights.

    Args:
        name: one of `backbone.names()`.
        weights: `imagenet`, `random`, or a `.weights.h5`, `.h5` or `.keras` file of the same
            layers, local or remote (`gs://…`).

    Returns:
        The model, float32 [N, 224, 224, 3] in [0, 255] to float32 [N, 7, 7, channels], and
        where its weights come from.

    Raises:
        ComponentError: no such backbone, or the weights are not available or do not fit.
    """
    backbone = find(name)
    if weights == RANDOM:
        return backbone.build(), WeightsOrigin(RANDOM, "none")
    if weights == IMAGENET:
        return imagenet_of(name).load()
    model = backbone.build()
    origin = _load_file(model, weights)
    backbone.correct(model)
    return model, origin


def weights_fingerprint(name: str, weights: str) -> str:
    """Tells weights from others before they are loaded, or even downloaded.

    Args:
        name: as for `build_backbone`.
        weights: as for `build_backbone`.

    Returns:
        Hexadecimal: the SHA-256 of the file, or the fingerprint of the ImageNet weights; `none`
        for random ones.

    Raises:
        ComponentError: the file cannot be read.
    """
    if weights == RANDOM:
        return "none"
    if weights == IMAGENET:
        return imagenet_of(name).fingerprint
    require_weights_file(weights)
    try:
        with readable(weights) as file:
            return sha256(file)
    except (OSError, tf.errors.OpError) as error:
        raise ComponentError(f"weights {weights!r} cannot be read: {one_line(error)}") from error


def require_same_weights(name: str, weights: str, wanted: str) -> None:
    """Makes sure that the weights are those in the key under which TFX caches what is made of them.

    Args:
        name: as for `build_backbone`.
        weights: as for `build_backbone`.
        wanted: the `weights_fingerprint` that the pipeline was built for.

    Raises:
        ComponentError: the weights have changed since, or cannot be read.
    """
    found = weights_fingerprint(name, weights)
    if found != wanted:
        raise ComponentError(
            f"weights {weights!r} changed since the run began, from {wanted} to {found}: run again"
        )


def _load_file(model: keras.Model, weights: str) -> WeightsOrigin:
    """Loads all weights of the model; what a file holds besides, such as a top, is left alone."""
    require_weights_file(weights)
    try:
        with readable(weights) as file:
            # Even of a .keras file, this reads only the arrays and builds nothing it describes.
            model.load_weights(file)
            return WeightsOrigin(weights, sha256(file))
    except Exception as error:  # Keras, h5py, zipfile and remote file systems each have their own
        raise ComponentError(
            f"weights {weights!r} cannot be loaded into {model.name}: {one_line(error)}"
        ) from error


def save_weights(model: keras.Model, file: str) -> None:
    """Saves a model's weights.

    HDF5 crashes the process where a disk is full, so it writes to a temporary file first.

    Args:
        model: any.
        file: a `.weights.h5` file, local or remote; one that is there is replaced, as a task that a
            platform restarts finds the files of its first attempt.

    Raises:
        tf.errors.OpError: it cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        local = f"{folder}/{file.rpartition('/')[2]}"
        model.save_weights(local)
        tf.io.gfile.copy(local, file, overwrite=True)
