"""What a report keeps of its run for programs, and the settings as people read them."""

from collections.abc import Iterator, Mapping
from typing import Any

DESCRIPTION = "run.json"
"""The file beside the page with the settings and versions of the run, as JSON."""


def leaves(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """The settings one by one, as `--set` names them."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{before}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{before}{key}", ", ".join(map(str, value)) or "none"
        else:
            yield f"{before}{key}", "none" if value in (None, {}) else str(value)
