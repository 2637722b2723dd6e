"""What a model says of one photo, and of why."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.contract.model import SUBJECT_THRESHOLD

NO_DOG, NOT_SURE = "no dog here", "not sure"


@dataclass(frozen=True)
class Prediction:
    """What the model says of one photo.

    `probabilities` holds every class in the model's own order, each in [0, 1], summing to 1;
    `label` is the most probable class. `certain` is whether such answers were shown to be right as
    often as the model's maker asked for, and `dog`, in [0, 1], how sure it is that there is a dog
    at all; a model that does not tell leaves them None.
    """

    label: str
    probabilities: dict[str, float]
    certain: bool | None = None
    dog: float | None = None

    @property
    def answer(self) -> str:
        """What to tell people: the label, unless there is no dog or the model is not sure."""
        if self.dog is not None and self.dog < SUBJECT_THRESHOLD:
            return NO_DOG
        return NOT_SURE if self.certain is False else self.label


@dataclass(frozen=True)
class Evidence:
    """What each part of a photo speaks for the most probable class, `label`, or against it.

    `map` is float32 [height, width], over the centred square of the photo: the model sees no more.
    """

    label: str
    map: NDArray[np.float32]

    @property
    def shares(self) -> NDArray[np.float32]:
        """What speaks for the class, float32 [height, width]: 1 where most does, 0 where nothing.

        All of it is 0 if no part does.
        """
        positive = np.maximum(self.map, 0)
        return np.asarray(positive / (positive.max() or 1), np.float32)


def centred_square(height: int, width: int) -> tuple[int, int, int]:
    """Top, left and side, in pixels, of the part of a photo that the model sees."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side
