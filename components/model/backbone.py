"""What a backbone is, and which exist: each module of `components.model.backbones` is one.

Nothing slow is imported, so that the command line can list them.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import ComponentError

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

PACKAGE = "components.model.backbones"


@dataclass(frozen=True)
class WeightsOrigin:
    """Where weights come from."""

    source: str
    """The file in words, or `random`."""
    sha256: str
    """Hexadecimal, of the file's bytes; `none` for random weights."""


@dataclass(frozen=True)
class ImageNet:
    """Published weights of a backbone, learnt on ImageNet."""

    fingerprint: str
    """Hexadecimal: tells them from others before they are loaded, or even downloaded."""
    where: Callable[[], str]
    """Tells within seconds where they come from, as in `from the package lite0 0.1`; raises
    ComponentError if they are not available."""
    load: Callable[[], "tuple[keras.Model, WeightsOrigin]"]
    """Builds the backbone with them; raises ComponentError if they are not available."""
    head: Callable[[], "tuple[NDArray[np.float32], NDArray[np.float32]]"]
    """The layer that tells ImageNet's classes by the pooled features: kernel [features, 1000] and
    bias [1000], before the softmax; raises ComponentError if they are not available."""


@dataclass(frozen=True)
class Backbone:
    """A convolutional network without pooling and top, with its input normalization inside."""

    build: Callable[[], "keras.Model"]
    """With random weights: float32 [N, 224, 224, 3] in [0, 255] to float32 [N, 7, 7, channels]."""
    imagenet: ImageNet | None = None
    preference: int | None = None
    """`auto` takes the lowest number whose ImageNet weights are available; None is never taken."""
    correct: Callable[["keras.Model"], None] = lambda model: None
    """Puts right what is wrong in a published file of its weights, once that is loaded."""


def names() -> list[str]:
    """The names of all backbones, sorted."""
    folder = Path(__file__).with_name("backbones")
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]))


def module_of(name: str) -> str:
    """The module that defines a backbone.

    Raises:
        ComponentError: there is no such backbone.
    """
    if name not in names():
        raise ComponentError(f"unknown backbone {name!r}: choose {', '.join(names())}")
    return f"{PACKAGE}.{name}"


def find(name: str) -> Backbone:
    """The backbone with a given name.

    Raises:
        ComponentError: there is none.
    """
    backbone: Backbone = importlib.import_module(module_of(name)).BACKBONE
    return backbone


def preferred() -> list[str]:
    """The names of those that `auto` may take, best first."""
    ranked = {name: find(name).preference for name in names()}
    return [
        name
        for name, _ in sorted(
            ((name, rank) for name, rank in ranked.items() if rank is not None),
            key=lambda pair: pair[1],
        )
    ]
