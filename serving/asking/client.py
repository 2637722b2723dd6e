"""Asks a model server what a dog feels: TF Serving, or anything with its REST API."""

import base64
import http.client
import json
import math
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import numpy as np

from data.contract.model import (
    BEST_LABEL,
    CERTAIN,
    CLASS_LABELS,
    DOG,
    EVIDENCE,
    EXPLAIN_SIGNATURE,
    MODEL_NAME,
    PROBABILITIES,
)
from serving.asking.errors import ModelError
from serving.asking.prediction import Evidence, Prediction
from serving.asking.predictor import BATCH

TIMEOUT = 60
"""Seconds without a byte from the server."""
MAX_ANSWER = 16 * 2**20
"""Bytes of an answer."""

T = TypeVar("T")


class RemotePredictor:
    """A model behind TF Serving's REST API: JPEG bytes in, predictions out.

    Args:
        url: of the server, `http://host:8501`, whose model is `dog_emotion`; or of a model or a
            version there, such as `http://host:8501/v1/models/dogs/versions/3`.
        label: that of the version to ask, such as `canary`.

    Raises:
        ModelError: it is not such an address, or names a version beside the label.
    """

    def __init__(self, url: str, label: str | None = None) -> None:
        self._model = model_url(url)
        if label is not None:
            if "/versions/" in self._model or "/labels/" in self._model:
                raise ModelError(f"{url} names a version: leave out --label {label}")
            self._model += f"/labels/{quote(label, safe='')}"
        self._url = f"{self._model}:predict"

    def predict(self, jpegs: Sequence[bytes]) -> list[Prediction]:
        """Predictions for upright RGB JPEGs, in their order.

        Raises:
            ModelError: the server cannot be reached, refuses, or answers with something else.
        """
        return self._ask_for(_read, jpegs, {})

    def explain(self, jpegs: Sequence[bytes]) -> list[Evidence] | None:
        """What speaks for the class of each of such JPEGs; None if the model does not tell.

        Raises:
            ModelError: as `predict`.
        """
        url = f"{self._model}/metadata"
        with _understood(url):
            signatures = json.loads(ask(url))["metadata"]["signature_def"]["signature_def"]
            if EXPLAIN_SIGNATURE not in signatures:
                return None
        return self._ask_for(_read_evidence, jpegs, {"signature_name": EXPLAIN_SIGNATURE})

    def _ask_for(
        self, read: Callable[[dict[str, Any]], T], jpegs: Sequence[bytes], signature: dict[str, str]
    ) -> list[T]:
        answers: list[T] = []
        for start in range(0, len(jpegs), BATCH):
            batch = jpegs[start : start + BATCH]
            instances = [{"b64": base64.b64encode(jpeg).decode()} for jpeg in batch]
            answer = ask(self._url, json.dumps({**signature, "instances": instances}).encode())
            with _understood(self._url):
                found = [read(entry) for entry in json.loads(answer)["predictions"]]
            if len(found) != len(batch):
                raise ModelError(
                    f"{self._url} answers for {len(found)} photos; {len(batch)} were sent"
                )
            answers += found
        return answers


def model_url(url: str) -> str:
    """The address of the model that an address of a server stands for: `dog_emotion` there, unless
    it names one.

    Raises:
        ModelError: it is not such an address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
        raise ModelError(f"{url} is not the address of a server: name one like http://host:8501")
    path = parts.path.rstrip("/") or f"/v1/models/{MODEL_NAME}"
    return f"{parts.scheme}://{parts.netloc}{path}"


@contextmanager
def _understood(url: str) -> Iterator[None]:
    """Says in our words that an answer is not what it should be."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelError(
            f"{url} does not answer like a dog-emotion model ({type(error).__name__}): "
            "name another --url"
        ) from error


def ask(url: str, body: bytes | None = None) -> bytes:
    """The answer to a GET, or to a POST if there is a body.

    Raises:
        ModelError: the server cannot be reached, or refuses.
    """
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            answer: bytes = response.read(MAX_ANSWER)
            return answer
    except urllib.error.HTTPError as error:
        raise ModelError(f"{url} refuses with status {error.code}: {_reason(error)}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise ModelError(f"{url} cannot be reached ({reason}): is the server running?") from error


def _read(entry: dict[str, Any]) -> Prediction:
    probabilities = {
        str(label): float(value)
        for label, value in zip(entry[CLASS_LABELS], entry[PROBABILITIES], strict=True)
    }
    if not all(math.isfinite(value) for value in probabilities.values()):
        raise ValueError("a probability is not a number")
    if entry[BEST_LABEL] not in probabilities:
        raise ValueError("the label is not one of the labels")
    certain, dog = entry.get(CERTAIN), entry.get(DOG)
    if not isinstance(certain, bool | None):
        raise ValueError("whether it is certain is neither true nor false")
    if dog is not None and not 0 <= dog <= 1:
        raise ValueError("how sure it is of a dog is not from 0 to 1")
    return Prediction(entry[BEST_LABEL], probabilities, certain, dog)


def _read_evidence(entry: dict[str, Any]) -> Evidence:
    evidence = np.array(entry[EVIDENCE], np.float32)
    if evidence.ndim != 2 or not evidence.size or not np.isfinite(evidence).all():
        raise ValueError("the evidence is not a table of numbers")
    return Evidence(str(entry[BEST_LABEL]), evidence)


def _reason(error: urllib.error.HTTPError) -> str:
    """What the server says, in one line."""
    text = error.read(10_000).decode("utf-8", "replace")
    try:
        text = str(json.loads(text)["error"])
    except (ValueError, TypeError, LookupError):
        text = text or str(error.reason)
    return " ".join(text.split())[:300]
