"""Who is told of every answer of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from serving.embedded.servable import Tensor


@dataclass(frozen=True)
class Call:
    """A request that a version of a model has answered."""

    model: str
    version: int
    signature: str
    """By name; that of a request which names none is the default one's."""
    feeds: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


class Observer(Protocol):
    """Is told of answers before they go out: what takes long, it leaves to a thread of its own."""

    def saw(self, call: Call) -> None:
        """Takes note of an answer."""
