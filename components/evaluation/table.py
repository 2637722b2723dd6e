"""What models have said about photos: a table in an evaluation, and maps beside it."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.errors import ComponentError
from data.contract.model import CERTAIN, DOG

PREDICTIONS, MAPS = "predictions.csv", "maps.npy"


@dataclass(frozen=True)
class Photo:
    """A test photo's record, without the pixels."""

    filename: str
    sha256: str
    """Of the photo's file."""
    image: str
    """SHA-256 of the JPEG in the record: all that a model sees."""
    label: str
    brightness: float
    width: int
    height: int


@dataclass(frozen=True)
class Answer:
    """What a model says about a photo; models of earlier versions of this code say less."""

    probabilities: NDArray[np.float32]
    certain: bool | None = None
    dog: float | None = None
    map: NDArray[np.float16] | None = None


Answers = dict[str, Answer]
"""By the photo's `image`."""


def write_predictions(
    folder: Path,
    classes: Sequence[str],
    photos: Sequence[Photo],
    answers: Mapping[str, Sequence[Answer]],
) -> None:
    """Writes one row for each photo, and the maps of the new model in the same order.

    Args:
        folder: is there.
        classes: names in the order of the probabilities.
        photos: in the order of their names.
        answers: of each model; the first one is the new one.
    """
    candidate, *others = answers
    with (folder / PREDICTIONS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                *("filename", "sha256", "label", "predicted", CERTAIN, DOG),
                *(f"p_{name}" for name in classes),
                *("brightness", "width", "height", "image_sha256"),
                *(f"{name}_predicted" for name in others),
            ]
        )
        for photo, answer, *rest in zip(photos, *answers.values(), strict=True):
            writer.writerow(
                [
                    *(photo.filename, photo.sha256, photo.label),
                    classes[answer.probabilities.argmax()],
                    "" if answer.certain is None else int(answer.certain),
                    "" if answer.dog is None else repr(answer.dog),
                    *map(str, answer.probabilities),
                    *(repr(photo.brightness), photo.width, photo.height, photo.image),
                    *(classes[each.probabilities.argmax()] for each in rest),
                ]
            )
    maps = [answer.map for answer in answers[candidate] if answer.map is not None]
    if maps:
        np.save(folder / MAPS, np.stack(maps))


@dataclass(frozen=True)
class Predictions:
    """What the evaluated model said of the test photos, N of them, in the order of their names."""

    classes: tuple[str, ...]
    filenames: tuple[str, ...]
    photos: tuple[str, ...]
    """SHA-256 of each photo's file."""
    images: tuple[str, ...]
    """SHA-256 of the JPEG in each record."""
    labels: NDArray[np.int64]
    """Class ids [N]."""
    predicted: NDArray[np.int64]
    """Class ids [N]."""
    probabilities: NDArray[np.float64]
    """[N, classes], calibrated."""
    certain: NDArray[np.bool_] | None
    """[N]; None if the model does not say."""
    dog: NDArray[np.float64] | None
    """[N] in [0, 1]; None if the model has no such score."""
    maps: NDArray[np.float32] | None
    """[N, height, width], what each part contributes to the predicted class; None if the model
    does not say."""

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The largest probability of each photo, [N]."""
        return np.asarray(self.probabilities.max(axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the predicted class is the photo's, [N]."""
        return np.asarray(self.predicted == self.labels)

    def __len__(self) -> int:
        return len(self.filenames)

    def answers(self) -> Answers:
        """The same, photo by photo."""
        return {
            image: Answer(
                self.probabilities[place].astype(np.float32),
                None if self.certain is None else bool(self.certain[place]),
                None if self.dog is None else float(self.dog[place]),
                None if self.maps is None else self.maps[place].astype(np.float16),
            )
            for place, image in enumerate(self.images)
        }


def read_table(folder: Path, classes: Sequence[str]) -> Predictions:
    """Reads the predictions of an evaluation.

    Args:
        folder: of the evaluation, local.
        classes: names in the order of their ids.

    Raises:
        ComponentError: the files are missing, damaged or of other classes.
    """
    file = folder / PREDICTIONS
    number = {name: place for place, name in enumerate(classes)}
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
        if not rows:
            raise ValueError("it has no row")
        maps = None
        if (folder / MAPS).exists():
            maps = np.load(folder / MAPS, allow_pickle=False).astype(np.float32)
            if maps.shape[:1] != (len(rows),):
                raise ValueError(f"{MAPS} has {len(maps)} maps for {len(rows)} photos")
        certain, dog = ([row[key] for row in rows] for key in (CERTAIN, DOG))
        return Predictions(
            classes=tuple(classes),
            filenames=tuple(row["filename"] for row in rows),
            photos=tuple(row["sha256"] for row in rows),
            images=tuple(row["image_sha256"] for row in rows),
            labels=np.array([number[row["label"]] for row in rows]),
            predicted=np.array([number[row["predicted"]] for row in rows]),
            probabilities=np.array([[float(row[f"p_{name}"]) for name in classes] for row in rows]),
            certain=np.array([text == "1" for text in certain]) if all(certain) else None,
            dog=np.array([float(text) for text in dog]) if all(dog) else None,
            maps=maps,
        )
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ComponentError(
            f"{file} is missing or damaged ({error}): delete {folder} and run again"
        ) from error
