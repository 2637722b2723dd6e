"""Waits until a server has taken over what its configuration file says."""

import json
import time
from typing import Any

from serving.asking.client import ask, model_url
from serving.asking.errors import ModelError

_PAUSE = 0.3
"""Seconds between two questions."""


def await_version(url: str, version: int, seconds: float) -> None:
    """Waits until a server can use a version.

    Args:
        url: of the server, or of a model there.
        version: that it is about to load.
        seconds: to wait at most.

    Raises:
        ModelError: it has failed to load the version, or the time is up.
    """
    address = f"{model_url(url)}/versions/{version}"
    deadline = time.monotonic() + seconds
    while True:
        try:
            (status,) = _statuses(address)
            state, reason = status["state"], status["status"]["error_message"]
        except ModelError as error:
            state, reason = "", str(error)
        if state == "AVAILABLE":
            return
        if state == "END" and reason:
            raise ModelError(f"{url} cannot load version {version}: {reason}")
        if time.monotonic() > deadline:
            raise ModelError(
                f"{url} has not loaded version {version} within {seconds:g} seconds "
                f"({reason or state}): does it read models.config again and again "
                "(--model_config_file_poll_wait_seconds)?"
            )
        time.sleep(_PAUSE)


def await_label(url: str, label: str, version: int, seconds: float) -> bool:
    """Waits until a label stands for a version on a server.

    Args:
        url: of the server, or of a model there.
        label: that is to move.
        version: that it is to stand for.
        seconds: to wait at most.

    Returns:
        Whether it does.
    """
    address = f"{model_url(url)}/labels/{label}"
    deadline = time.monotonic() + seconds
    while time.monotonic() <= deadline:
        try:
            if [each["version"] for each in _statuses(address)] == [str(version)]:
                return True
        except ModelError:  # the label may not be there yet
            pass
        time.sleep(_PAUSE)
    return False


def _statuses(address: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(ask(address))["model_version_status"]
    except (ValueError, TypeError, LookupError) as error:
        raise ModelError(f"{address} does not answer like a server of models") from error
    return found
