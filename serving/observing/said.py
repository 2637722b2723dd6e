"""The photos of a request, each with what was said of it."""

from collections.abc import Iterator

from data.contract.model import (
    BEST_LABEL,
    CERTAIN,
    CLASS_LABELS,
    DOG,
    PHOTO_INPUT,
    PHOTO_OUTPUTS,
    PROBABILITIES,
)
from data.contract.servable import DEFAULT_SIGNATURE
from serving.asking.prediction import Prediction
from serving.embedded.observer import Call


def read_answers(call: Call) -> Iterator[tuple[bytes, Prediction]]:
    """The photos that a model of ours was asked about, and the answers.

    Of other models, and of other signatures, there are none: that which explains an answer comes
    after the answer.
    """
    outputs = call.outputs
    ours = call.signature == DEFAULT_SIGNATURE and set(PHOTO_OUTPUTS) <= outputs.keys()
    if not ours or PHOTO_INPUT not in call.feeds:
        return
    for index, photo in enumerate(call.feeds[PHOTO_INPUT].tolist()):
        names = [_text(name) for name in outputs[CLASS_LABELS][index].tolist()]
        yield (
            photo,
            Prediction(
                label=_text(outputs[BEST_LABEL][index]),
                probabilities=dict(zip(names, outputs[PROBABILITIES][index].tolist(), strict=True)),
                certain=bool(outputs[CERTAIN][index]) if CERTAIN in outputs else None,
                dog=float(outputs[DOG][index]) if DOG in outputs else None,
            ),
        )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
