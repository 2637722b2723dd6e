"""Asks a model server what a dog feels: TF Serving, or anything with its REST API."""

import base64
import http.client
import json
import math
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from data.contract.model import BEST_LABEL, CLASS_LABELS, MODEL_NAME, PROBABILITIES
from serving.asking.errors import ModelError
from serving.asking.predictor import BATCH, Prediction

TIMEOUT = 60
"""Seconds without a byte from the server."""
MAX_ANSWER = 16 * 2**20
"""Bytes of an answer."""


class RemotePredictor:
    """A model behind TF Serving's REST API: JPEG bytes in, predictions out.

    Args:
        url: of the server, `http://host:8501`, whose model is `dog_emotion`; or of a model or a
            version there, such as `http://host:8501/v1/models/dogs/versions/3`.

    Raises:
        ModelError: it is not such an address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query:
            raise ModelError(
                f"{url} is not the address of a server: name one like http://host:8501"
            )
        path = parts.path.rstrip("/") or f"/v1/models/{MODEL_NAME}"
        self._url = f"{parts.scheme}://{parts.netloc}{path}:predict"

    def predict(self, jpegs: Sequence[bytes]) -> list[Prediction]:
        """Predictions for upright RGB JPEGs, in their order.

        Raises:
            ModelError: the server cannot be reached, refuses, or answers with something else.
        """
        predictions: list[Prediction] = []
        for start in range(0, len(jpegs), BATCH):
            predictions += self._predict_batch(jpegs[start : start + BATCH])
        return predictions

    def _predict_batch(self, jpegs: Sequence[bytes]) -> list[Prediction]:
        instances = [{"b64": base64.b64encode(jpeg).decode()} for jpeg in jpegs]
        answer = self._ask(json.dumps({"instances": instances}).encode())
        try:
            predictions = [_read(entry) for entry in json.loads(answer)["predictions"]]
        except (ValueError, TypeError, LookupError) as error:
            raise ModelError(
                f"{self._url} does not answer like a dog-emotion model ({type(error).__name__}): "
                "name another --url"
            ) from error
        if len(predictions) != len(jpegs):
            raise ModelError(
                f"{self._url} answers for {len(predictions)} photos; {len(jpegs)} were sent"
            )
        return predictions

    def _ask(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                answer: bytes = response.read(MAX_ANSWER)
                return answer
        except urllib.error.HTTPError as error:
            raise ModelError(
                f"{self._url} refuses with status {error.code}: {_reason(error)}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise ModelError(
                f"{self._url} cannot be reached ({reason}): is the server running?"
            ) from error


def _read(entry: dict[str, Any]) -> Prediction:
    probabilities = {
        str(label): float(value)
        for label, value in zip(entry[CLASS_LABELS], entry[PROBABILITIES], strict=True)
    }
    if not all(math.isfinite(value) for value in probabilities.values()):
        raise ValueError("a probability is not a number")
    if entry[BEST_LABEL] not in probabilities:
        raise ValueError("the label is not one of the labels")
    return Prediction(label=entry[BEST_LABEL], probabilities=probabilities)


def _reason(error: urllib.error.HTTPError) -> str:
    """What the server says, in one line."""
    text = error.read(10_000).decode("utf-8", "replace")
    try:
        text = str(json.loads(text)["error"])
    except (ValueError, TypeError, LookupError):
        text = text or str(error.reason)
    return " ".join(text.split())[:300]
