"""The convolutional backbones, their weights, and what of them is trained."""

import functools
import hashlib
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from components.errors import ComponentError
from components.model import torch_checkpoint
from components.model.backbones import lite0, tiny
from components.model.weights import (
    B0,
    B0_FILE,
    B0_MD5,
    B0_URL,
    IMAGENET,
    LITE0,
    RANDOM,
    TINY,
    b0_host_answers,
    b0_is_cached,
    lite0_file,
    require_weights_file,
)
from components.staging import readable

_DOWNLOAD_STALL = 30.0
"""Seconds without a byte after which a download has failed."""


@dataclass(frozen=True)
class WeightsOrigin:
    """Where weights come from.

    Attributes:
        source: the file in words, or `random`.
        sha256: hexadecimal, of the file's bytes; `none` for random weights.
    """

    source: str
    sha256: str


def build_backbone(name: str, weights: str) -> tuple[keras.Model, WeightsOrigin]:
    """Builds a backbone without pooling and top, its normalisation inside.

    Args:
        name: `efficientnet_b0`, `efficientnet_lite0` or `tiny`.
        weights: `imagenet`, `random`, or a `.weights.h5`, `.h5` or `.keras` file of the same
            layers, local or remote (`gs://…`).

    Returns:
        The model, float32 [N, 224, 224, 3] in [0, 255] to float32 [N, 7, 7, channels], and
        where its weights come from.

    Raises:
        ComponentError: no such backbone, or the weights cannot be had or do not fit.
    """
    if name not in _BUILDERS:
        raise ComponentError(f"unknown backbone {name!r}: choose {B0} or {LITE0}")
    if weights == RANDOM:
        return _BUILDERS[name](), WeightsOrigin(RANDOM, "none")
    if weights == IMAGENET and name == B0:
        return _imagenet_b0()
    if weights == IMAGENET and name == LITE0:
        return _imagenet_lite0()
    if weights == IMAGENET:
        raise ComponentError(f"backbone {name} has no {IMAGENET} weights")
    model = _BUILDERS[name]()
    origin = _load_file(model, weights)
    if name == B0:
        _correct_normalization(model)
    return model, origin


def weights_fingerprint(name: str, weights: str) -> str:
    """Tells weights from others before they are loaded, or even downloaded.

    Args:
        name: as for `build_backbone`.
        weights: as for `build_backbone`.

    Returns:
        Hexadecimal: the SHA-256 of the file; of B0's ImageNet weights the MD5 that Keras checks
        the download by; `none` for random weights.

    Raises:
        ComponentError: the file cannot be read.
    """
    if weights == RANDOM:
        return "none"
    if weights == IMAGENET:
        return B0_MD5 if name == B0 else lite0.SHA256
    require_weights_file(weights)
    try:
        with readable(weights) as file:
            return _sha256(file)
    except (OSError, tf.errors.OpError) as error:
        raise ComponentError(f"weights {weights!r} cannot be read: {_line(error)}") from error


def require_same_weights(name: str, weights: str, wanted: str) -> None:
    """Makes sure that the key under which TFX caches what is made of the weights is true.

    Args:
        name: as for `build_backbone`.
        weights: as for `build_backbone`.
        wanted: the `weights_fingerprint` that the pipeline was built for.

    Raises:
        ComponentError: the weights are others by now, or cannot be read.
    """
    found = weights_fingerprint(name, weights)
    if found != wanted:
        raise ComponentError(
            f"weights {weights!r} changed since the run began, from {wanted} to {found}: run again"
        )


@functools.cache
def boundary_of(name: str, unfreeze_layers: int) -> str:
    """The name of the layer whose output is the `freeze_boundary` of a backbone.

    Args:
        name: as for `build_backbone`.
        unfreeze_layers: how many of the last layers are trained.

    Raises:
        ComponentError: the backbone has no so many layers, or none of them is frozen.
    """
    backbone = _BUILDERS[name]()
    trunk = keras.Model(backbone.input, freeze_boundary(backbone, unfreeze_layers))
    if not trunk.count_params():
        raise ComponentError(
            f"unfreeze_layers {unfreeze_layers} leaves no layer of {name} frozen whose output "
            "could be cached: set fewer, or training.augmentation.mode=on_the_fly"
        )
    return boundary_layer(backbone, unfreeze_layers)


def freeze(backbone: keras.Model, unfreeze_layers: int) -> None:
    """Leaves only the last layers trainable, and no BatchNormalization among them.

    A model that holds the backbone must be compiled afterwards. BatchNormalization keeps
    ImageNet's statistics: https://keras.io/guides/transfer_learning.

    Args:
        backbone: from `build_backbone`.
        unfreeze_layers: how many of the last layers; 0 freezes all.

    Raises:
        ComponentError: the backbone has no so many layers.
    """
    first = _first_unfrozen(backbone, unfreeze_layers)
    # The model's own flag covers all layers, so it is set before theirs.
    backbone.trainable = True
    for index, layer in enumerate(backbone.layers):
        layer.trainable = index >= first and not isinstance(layer, keras.layers.BatchNormalization)


def freeze_boundary(backbone: keras.Model, unfreeze_layers: int) -> keras.KerasTensor:
    """Finds the last tensor from which all that the unfrozen layers need can be computed.

    Where the last layers begin inside a residual block, this is the block's input: the few
    frozen layers behind it belong to the tail, which is `keras.Model(boundary, backbone.output)`.
    A convolution and its BatchNormalization stay together, so that they can be folded.

    Args:
        backbone: from `build_backbone`.
        unfreeze_layers: how many of the last layers are trained.

    Returns:
        A tensor of the backbone: its output when nothing is unfrozen, its input when all is.

    Raises:
        ComponentError: the backbone has no so many layers.
    """
    first = _first_unfrozen(backbone, unfreeze_layers)
    for cut in range(first, 0, -1):
        crossing = _tensors_across(backbone, cut)
        if len(crossing) == 1 and not _is_normalized(backbone, crossing[0]):
            return crossing[0]
    return backbone.input


def boundary_layer(backbone: keras.Model, unfreeze_layers: int) -> str:
    """The name of the layer whose output is the `freeze_boundary`.

    Raises:
        ComponentError: the backbone has no so many layers.
    """
    boundary = freeze_boundary(backbone, unfreeze_layers)
    (name,) = (layer.name for layer in backbone.layers if layer.output is boundary)
    return str(name)


def _first_unfrozen(backbone: keras.Model, unfreeze_layers: int) -> int:
    layers = len(backbone.layers)
    if not 0 <= unfreeze_layers <= layers:
        raise ComponentError(
            f"unfreeze_layers {unfreeze_layers}: {backbone.name} has {layers} layers, "
            f"give 0 to {layers}"
        )
    return layers - unfreeze_layers


def _tensors_across(backbone: keras.Model, cut: int) -> list[keras.KerasTensor]:
    """The tensors made before layer number `cut` and used from there on."""
    used = [tensor for layer in backbone.layers[cut:] for tensor in keras.tree.flatten(layer.input)]
    used.append(backbone.output)
    used_ids = {id(tensor) for tensor in used}
    return [layer.output for layer in backbone.layers[:cut] if id(layer.output) in used_ids]


def _is_normalized(backbone: keras.Model, tensor: keras.KerasTensor) -> bool:
    """Whether a BatchNormalization reads the tensor."""
    return any(
        layer.input is tensor
        for layer in backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    )


def _build_b0() -> keras.Model:
    return keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(224, 224, 3)
    )


_BUILDERS = {B0: _build_b0, LITE0: lite0.build_lite0, TINY: tiny.build_tiny}


def _imagenet_b0() -> tuple[keras.Model, WeightsOrigin]:
    both_ways_out = (
        "give a file by `--set model.weights=<file>`, "
        "or take another backbone by `--set model.backbone=efficientnet_lite0`"
    )
    if not b0_is_cached() and not b0_host_answers():
        raise ComponentError(f"{B0_URL} cannot be reached: {both_ways_out}")
    try:
        with _stalled_downloads_fail():
            model = keras.applications.EfficientNetB0(
                include_top=False, weights="imagenet", input_shape=(224, 224, 3)
            )
            # Cached by now: this only asks Keras where.
            file = keras.utils.get_file(B0_FILE, B0_URL, cache_subdir="models")
    except Exception as error:  # what Keras raises for a failed download is a bare Exception
        raise ComponentError(f"{_line(error)}: {both_ways_out}") from error
    return model, WeightsOrigin(f"keras.applications {B0_FILE}", _sha256(Path(file)))


def _imagenet_lite0() -> tuple[keras.Model, WeightsOrigin]:
    model = lite0.build_lite0()
    file = lite0_file()
    lite0.assign_weights(model, torch_checkpoint.read_state_dict(file, lite0.SHA256))
    return model, WeightsOrigin(file.name, lite0.SHA256)


@contextmanager
def _stalled_downloads_fail() -> Iterator[None]:
    """Keras downloads without a time-out of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_STALL)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load_file(model: keras.Model, weights: str) -> WeightsOrigin:
    """Loads all weights of the model; what a file holds beyond them, a top, is left alone."""
    require_weights_file(weights)
    try:
        with readable(weights) as file:
            # Of a .keras file too this reads the arrays alone and builds nothing it describes.
            model.load_weights(file)
            return WeightsOrigin(weights, _sha256(file))
    except Exception as error:  # Keras, h5py, zipfile and the remote file system each have theirs
        raise ComponentError(
            f"weights {weights!r} cannot be loaded into {model.name}: {_line(error)}"
        ) from error


_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def _correct_normalization(model: keras.Model) -> None:
    """Puts the square root right that the published weights of B0 have too many.

    They hold ImageNet's standard deviations as variances. keras.applications makes up for it
    by one more Rescaling, but only for `weights="imagenet"`, not for the same file:
    https://github.com/tensorflow/tensorflow/issues/49930.
    """
    (layer,) = [x for x in model.layers if isinstance(x, keras.layers.Normalization)]
    mean, variance, *count = layer.get_weights()
    if np.allclose(variance, _IMAGENET_STD, atol=1e-3):
        layer.set_weights([mean, variance * _IMAGENET_STD, *count])
        layer.finalize_state()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _line(error: Exception) -> str:
    """An error's message on one line of bounded length, or its type if it says nothing."""
    return textwrap.shorten(str(error), 200) or type(error).__name__
