"""Where the artifacts, the data and the models of a run may be, by platform."""

import posixpath
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Literal

from pipeline.cluster.kubeflow_task import FOLDERS
from pipeline.config import ConfigError

Target = Literal["kubeflow", "vertex"]

HOW_TO_MOUNT = '--set \'kubernetes.volumes=[{claim="CLAIM", mount="/FOLDER"}]\''

_SCHEMES: dict[Target, dict[str, tuple[str, ...]]] = {
    "vertex": {"--root": ("gs://",), "--data": ("gs://",), "--serving": ("gs://",)},
    "kubeflow": {
        "--root": tuple(FOLDERS),
        "--data": ("gs://", "/"),
        "--serving": ("gs://", "/"),
    },
}
"""What a place may begin with: artifacts go where the platform can write, the rest where
TensorFlow can; a path is in a volume that is mounted into every task."""


def require_places(target: Target, places: Mapping[str, str], mounts: Iterable[str]) -> None:
    """Refuses places that the tasks could not reach.

    Args:
        target: the platform.
        places: by the option that names them.
        mounts: the folders where volumes are mounted.

    Raises:
        ConfigError: the message names the option, the place and what would do.
    """
    for option, place in places.items():
        allowed = _SCHEMES[target][option]
        if not place.startswith(allowed):
            raise ConfigError(
                f"{option} {place}: on {target} it must begin with {' or '.join(allowed)}"
            )
        if place.startswith("/") and not is_mounted(place, mounts):
            raise ConfigError(
                f"{option} {place}: nothing is mounted there; compile with {HOW_TO_MOUNT}"
            )


def is_mounted(path: str, mounts: Iterable[str]) -> bool:
    """Whether a path lies in a volume.

    Args:
        path: a POSIX path.
        mounts: the folders where volumes are mounted.
    """
    whole = PurePosixPath(posixpath.normpath(path))
    return any(whole.is_relative_to(mount) for mount in mounts)
