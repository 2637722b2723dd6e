"""What the server serves: a loaded version of a model, however it was loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

Tensor: TypeAlias = NDArray[Any]
"""Strings are bytes in an array of objects."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a graph: its name there and its type by TensorFlow's name, such as "float"."""

    tensor: str
    dtype: str


@dataclass(frozen=True)
class Signature:
    """What a model can be asked.

    `method` is its method name, such as `tensorflow/serving/predict`.
    """

    method: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]

    @property
    def types(self) -> dict[str, str]:
        """The type of each input."""
        return {name: info.dtype for name, info in self.inputs.items()}


class Servable(Protocol):
    """A loaded version of a model."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What it can be asked, by name."""

    def run(self, name: str, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Calls one of the signatures.

        Args:
            name: of the signature.
            feeds: a tensor for each of its inputs.

        Returns:
            A tensor for each output, in the order of the names.

        Raises:
            RequestError: an operation fails, or the call takes too long.
        """

    def describe(self) -> dict[str, Any]:
        """The signatures as the metadata of the REST API holds them."""

    def close(self) -> None:
        """Frees what it holds; nobody uses it any more."""
