"""Going on from the model that was pushed last, instead of from the backbone's own weights."""

from pathlib import Path

import keras
from pydantic import BaseModel, ConfigDict, ValidationError

from components.errors import ComponentError
from components.model.weights import save_weights

FORMAT = "Format-Keras"
"""The folder beside TFX's `Format-Serving`: an export's layers are folded, and train no further."""
_WEIGHTS = "classifier.weights.h5"
_ORIGIN = "origin.json"


class Origin(BaseModel):
    """What must be the same for one training to go on where another has ended.

    The activations of a cache are those of layers that no training changes, so where these end may
    not change either.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    backbone: str
    weights_hash: str
    unfreeze_layers: int
    classes: list[str]


def keep_weights(model: keras.Model, origin: Origin, folder: Path) -> None:
    """Writes what a later training may go on from.

    Args:
        model: the whole classifier, trained.
        origin: what it was trained from.
        folder: is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, str(folder / _WEIGHTS))
    (folder / _ORIGIN).write_text(origin.model_dump_json(indent=2), encoding="utf-8")


def take_weights(model: keras.Model, origin: Origin, folder: Path) -> None:
    """Gives a classifier the weights that `keep_weights` has written.

    Args:
        model: the whole classifier, of the same layers.
        origin: what is to be trained from.
        folder: where the weights are.

    Raises:
        ComponentError: there are none, or they have another origin.
    """
    try:
        kept = Origin.model_validate_json((folder / _ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise ComponentError(
            f"{folder} holds no weights to go on from: train once with training.warm_start=false"
        ) from error
    for name in Origin.model_fields:
        before, now = getattr(kept, name), getattr(origin, name)
        if before != now:
            raise ComponentError(
                f"{name} was {before} when the model in {folder} was trained, and is {now} now: "
                "set training.warm_start=false"
            )
    model.load_weights(folder / _WEIGHTS)
