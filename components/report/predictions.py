"""What the evaluated model said about each test photo, read back from an evaluation."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.errors import ComponentError
from components.evaluation.predictions import MAPS, PREDICTIONS
from data.contract.model import CERTAIN, DOG


@dataclass(frozen=True)
class Predictions:
    """The test photos, N of them, in the order of their names."""

    classes: tuple[str, ...]
    filenames: tuple[str, ...]
    photos: tuple[str, ...]
    """SHA-256 of each photo's file."""
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
