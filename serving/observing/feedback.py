"""What the page sends when someone confirms or corrects an answer."""

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from data.contract.feedback import PHOTOS, Feedback, now
from serving.asking.prediction import Prediction
from serving.embedded import json_values, tensors
from serving.embedded.observer import Call
from serving.embedded.rest_api import Answer, error_body, refuse
from serving.embedded.status import RequestError, invalid
from serving.observing.feedback_folder import FeedbackFolder, FullError
from serving.observing.said import read_answers

ENDPOINT = "feedback"
REMEMBERED = 1_000
"""Answers, the newest: feedback is taken on these alone."""
_MAGIC = dict(zip(PHOTOS, (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"), strict=True))

_Key: TypeAlias = tuple[str, str, bytes]
"""The model, the photo's SHA-256, and the probabilities that were said, as float32."""

_log = logging.getLogger(__name__)


class FeedbackDesk:
    """Takes feedback on answers that this server has given, and no other.

    So a photo that is kept has passed all that a model asks of one, and version and probabilities
    are what the person saw, whatever is served since.
    """

    def __init__(self, folder: FeedbackFolder) -> None:
        self._folder = folder
        self._given: OrderedDict[_Key, tuple[int, Prediction]] = OrderedDict()
        self._lock = threading.Lock()

    def saw(self, call: Call) -> None:
        """Remembers the answers of a model, by what the person has seen."""
        for photo, prediction in read_answers(call):
            key = _key(call.model, photo, prediction.probabilities.values())
            with self._lock:
                self._given[key] = call.version, prediction
                self._given.move_to_end(key)
                if len(self._given) > REMEMBERED:
                    self._given.popitem(last=False)

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Keeps `{"model", "photo": {"b64"}, "probabilities", "correction"}`.

        The probabilities are those of the answer: versions differ in what they say of a photo.
        Whatever is wrong is in the answer.
        """
        try:
            model, photo, probabilities, correction = _read(body)
            feedback = self._about(model, photo, probabilities, correction)
            self._folder.keep(feedback, photo)
        except RequestError as error:
            return refuse(error)
        except LookupError as error:
            return Answer(409, error_body(str(error.args[0])))
        except FullError as error:
            return Answer(507, error_body(f"No more feedback is kept: {error}"))
        except OSError as error:
            _log.error("feedback cannot be kept: %s", error)
            return Answer(500, error_body(f"Feedback cannot be kept: {error.strerror}"))
        return Answer(200, json.dumps({"kept": feedback.correction}).encode())

    def _about(
        self, model: str, photo: bytes, probabilities: list[float], correction: str
    ) -> Feedback:
        """The feedback in full.

        Raises:
            LookupError: the answer is not remembered.
            RequestError: the correction is not a class, or the photo no photo.
        """
        key = _key(model, photo, probabilities)
        with self._lock:
            given = self._given.get(key)
        if given is None:
            raise LookupError("The answer to this photo is no longer remembered: ask again")
        version, prediction = given
        if correction not in prediction.probabilities:
            classes = ", ".join(prediction.probabilities)
            raise invalid(f"The correction should be one of {classes}")
        ending = next((end for end, magic in _MAGIC.items() if photo.startswith(magic)), None)
        if ending is None:
            raise invalid("The photo should be JPEG or PNG")
        sha256 = key[1]
        return Feedback(
            sha256=sha256,
            photo=sha256 + ending,
            when=now(),
            model=model,
            version=str(version),
            label=prediction.label,
            probabilities=prediction.probabilities,
            certain=prediction.certain,
            dog=prediction.dog,
            correction=correction,
        )


def _key(model: str, photo: bytes, probabilities: Iterable[float]) -> _Key:
    with np.errstate(over="ignore"):  # a number that no model says is in no key
        said = np.array(list(probabilities), np.float32)  # in JSON they have as many digits
    return model, hashlib.sha256(photo).hexdigest(), said.tobytes()


def _read(body: bytes) -> tuple[str, bytes, list[float], str]:
    document = json_values.parse(body)
    model, correction = document.get("model"), document.get("correction")
    if not isinstance(model, str) or not isinstance(correction, str):
        raise invalid("Feedback has a model and a correction, both strings")
    photo = tensors.decode_base64(document.get("photo"))
    probabilities = document.get("probabilities")
    if not isinstance(probabilities, list) or not all(map(json_values.is_number, probabilities)):
        raise invalid("Feedback has the probabilities that the answer had, a list of numbers")
    return model, photo, probabilities, correction
