"""EfficientNetB0 of keras.applications, with the ImageNet weights that Keras downloads."""

import hashlib
import os
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path

import keras
import numpy as np

from components.errors import ComponentError
from components.model.backbone import Backbone, ImageNet, WeightsOrigin
from components.model.files import one_line, sha256

FILE = "efficientnetb0_notop.h5"
URL = f"https://storage.googleapis.com/keras-applications/{FILE}"
MD5 = "50bc09e76180e00e4465e1a485ddc09d"
"""The file that keras.applications.EfficientNetB0(include_top=False) asks for, and its hash."""

ANSWER_WITHIN = 3.0
"""Seconds within which the file's host must answer, even if something drops its packets."""

_DOWNLOAD_STALL = 30.0
"""Seconds without a byte after which a download counts as failed."""

_BOTH_WAYS_OUT = (
    "give a file with `--set model.weights=<file>`, "
    "or take another backbone with `--set model.backbone=efficientnet_lite0`"
)


def _build(weights: str | None = None) -> keras.Model:
    return keras.applications.EfficientNetB0(
        include_top=False, weights=weights, input_shape=(224, 224, 3)
    )


def _where() -> str:
    if is_cached():
        return f"from the cache, {_cached_file()}"
    host = urllib.parse.urlsplit(URL).hostname
    if not host_answers():
        raise ComponentError(f"{host} cannot be reached for the weights of efficientnet_b0")
    return f"from {host}, which answers"


def _load() -> tuple[keras.Model, WeightsOrigin]:
    if not is_cached() and not host_answers():
        raise ComponentError(f"{URL} cannot be reached: {_BOTH_WAYS_OUT}")
    try:
        with _stalled_downloads_fail():
            model = _build("imagenet")
            # Cached by now: this only asks Keras where.
            file = keras.utils.get_file(FILE, URL, cache_subdir="models")
    except Exception as error:  # what Keras raises for a failed download is a bare Exception
        raise ComponentError(f"{one_line(error)}: {_BOTH_WAYS_OUT}") from error
    return model, WeightsOrigin(f"keras.applications {FILE}", sha256(Path(file)))


def _head() -> tuple[np.ndarray, np.ndarray]:
    """Of another file, with the top, which Keras downloads unless it has it already."""
    try:
        with _stalled_downloads_fail():
            model = keras.applications.EfficientNetB0(weights="imagenet")
    except Exception as error:  # as above
        raise ComponentError(f"the ImageNet head of efficientnet_b0: {one_line(error)}") from error
    kernel, bias = model.get_layer("predictions").get_weights()
    return kernel, bias


def is_cached() -> bool:
    """Whether Keras has the whole file from an earlier download."""
    try:
        with _cached_file().open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest() == MD5
    except OSError:
        return False


def host_answers() -> bool:
    """Whether the file can be downloaded; known within `ANSWER_WITHIN` seconds.

    Proxies set in the environment are honoured, as they are by the download.
    """
    answers: list[int] = []

    def ask() -> None:
        request = urllib.request.Request(URL, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as response:
                answers.append(response.status)
        except (OSError, HTTPException, ValueError):  # ValueError: a proxy that is not an address
            pass

    # A time-out bounds each step, not their sum: names are resolved without one, and every
    # address of the host is tried in turn. The deadline is the thread's.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_WITHIN)
    return answers == [HTTPStatus.OK]


def _cached_file() -> Path:
    """Source: keras.utils.get_file, which falls back to /tmp when its folder is not writable."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    if not os.access(home, os.W_OK):
        home = Path("/tmp/.keras")
    return home / "models" / FILE


@contextmanager
def _stalled_downloads_fail() -> Iterator[None]:
    """Keras downloads without a time-out of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_STALL)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


_IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


def _correct_normalization(model: keras.Model) -> None:
    """Undoes the square root that was taken once too often in the published weights.

    They hold ImageNet's standard deviations as variances. keras.applications makes up for it
    with one more Rescaling, but only for `weights="imagenet"`, not for the same file:
    https://github.com/tensorflow/tensorflow/issues/49930.
    """
    (layer,) = [x for x in model.layers if isinstance(x, keras.layers.Normalization)]
    mean, variance, *count = layer.get_weights()
    if np.allclose(variance, _IMAGENET_STD, atol=1e-3):
        layer.set_weights([mean, variance * _IMAGENET_STD, *count])
        layer.finalize_state()


BACKBONE = Backbone(
    build=_build,
    imagenet=ImageNet(fingerprint=MD5, where=_where, load=_load, head=_head),
    preference=1,
    correct=_correct_normalization,
)
