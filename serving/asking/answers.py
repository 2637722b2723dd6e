"""Predictions as text: for people on a terminal, and as JSON for programs."""

import json
from collections.abc import Sequence

from data.contract.model import CERTAIN, DOG
from serving.asking.prediction import Prediction

Answer = tuple[str, Prediction | str]
"""A photo's name with the prediction, or with the reason why there is none."""

BAR_WIDTH = 24
"""Characters of a bar at probability 1."""

_EIGHTHS = " ▏▎▍▌▋▊▉"


def as_json(answers: Sequence[Answer]) -> str:
    """A JSON list of `{"photo", "label", "probabilities"}` or `{"photo", "error"}`, in order.

    `certain` and `dog` are there too if the model tells.
    """
    return json.dumps([_record(photo, answer) for photo, answer in answers], indent=2)


def _record(photo: str, answer: Prediction | str) -> dict[str, object]:
    if isinstance(answer, str):
        return {"photo": photo, "error": answer}
    further = {CERTAIN: answer.certain, DOG: answer.dog}
    return {
        "photo": photo,
        "label": answer.label,
        "probabilities": answer.probabilities,
        **{name: value for name, value in further.items() if value is not None},
    }


def as_text(answers: Sequence[Answer], encoding: str = "utf-8") -> str:
    """One block per photo: its name and the answer, then a line with a bar for every class.

    Args:
        answers: what to show, in order; classes keep the model's order.
        encoding: that of the terminal. One without block characters gets bars of `#`.
    """
    smooth = _encodable(_EIGHTHS + "█", encoding)
    text = "\n\n".join(_block(photo, answer, smooth) for photo, answer in answers)
    return text.encode(encoding, "replace").decode(encoding)


def _encodable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _block(photo: str, answer: Prediction | str, smooth: bool) -> str:
    if isinstance(answer, str):
        return _printable(f"{photo}: no prediction: {answer}")
    width = max(len(label) for label in answer.probabilities)
    lines = [f"{photo}: {answer.answer}"] + [
        f"  {label:<{width}}  {probability:6.1%}  {_bar(probability, smooth)}".rstrip()
        for label, probability in answer.probabilities.items()
    ]
    return "\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    """A name may contain line breaks and terminal commands: neither reaches the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _bar(probability: float, smooth: bool) -> str:
    if not smooth:
        return "#" * round(probability * BAR_WIDTH)
    full, eighths = divmod(round(probability * BAR_WIDTH * 8), 8)
    return ("█" * full + _EIGHTHS[eighths]).rstrip()
