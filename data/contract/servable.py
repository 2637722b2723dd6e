"""What those who write a model and those who serve it agree on.

All but the names of a model's cost is TF Serving's choice. It needs only the standard library, so
that anyone may import it.
"""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_SIGNATURE = "serving_default"
"""What a request that names no signature asks for."""

SAVED_MODEL = "saved_model.pb"
NEEDED_FILES = ("variables/variables.index", SAVED_MODEL)
"""The files without which a version is incomplete; whoever writes one file at a time writes the
graph last."""

WARM_UP = "assets.extra/tf_serving_warmup_requests"
"""Requests, in a version, that are replayed before it becomes available."""

SIZE_MB, LATENCY_MS = "size_mb", "latency_ms"
"""What a model costs, as properties of the artifact in which a node says so: millions of bytes, and
the median time for one photo."""


@dataclass(frozen=True)
class Cost:
    """What a model costs whoever serves it."""

    size_mb: float
    """Of all its files, in millions of bytes."""
    latency_ms: float
    """Median time of a request of one photo, after a warm-up."""


def is_complete(version: Path) -> bool:
    """Whether a folder has all the files that a version needs."""
    return all((version / name).is_file() for name in NEEDED_FILES)
