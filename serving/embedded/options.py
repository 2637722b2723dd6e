"""How to serve, with the defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads the defaults and must not wait for NumPy and protobuf
    from prometheus_client.registry import Collector

    from serving.embedded.app import Api
    from serving.embedded.batching import BatchingParameters
    from serving.embedded.config_files import ModelConfig
    from serving.embedded.observer import Observer


@dataclass(frozen=True)
class ServerOptions:
    """How to serve; the names are TF Serving's."""

    models: "Sequence[ModelConfig]"
    page: Path
    """The folder of the page that is shown at the root."""
    host: str = "127.0.0.1"
    rest_api_port: int = 8501
    """0 takes any free port."""
    rest_api_num_threads: int = 8
    rest_api_timeout_in_ms: int = 30_000
    file_system_poll_wait_seconds: float = 1
    model_config_file: Path | None = None
    """Where `models` come from."""
    model_config_file_poll_wait_seconds: float = 0
    """Between two looks at that file; with 0 it is never read again."""
    model_config_file_awaited: bool = False
    """Whether the file is not there yet: `models` are served until it appears."""
    canary_share: float | None = None
    """Of requests that name neither version nor label, what goes to the canary, in [0, 1], and not
    to what is stable; None has the newest version answer them all."""
    batching: "BatchingParameters | None" = None
    """None answers each request with a call of its own."""
    observers: "Sequence[Observer]" = ()
    """Who is told of every answer."""
    collectors: "Sequence[Collector]" = ()
    """What the metrics show beside the server's own."""
    endpoints: "Mapping[str, Api]" = field(default_factory=dict)
    """What answers at further paths, by their names; only the page may send them anything."""
