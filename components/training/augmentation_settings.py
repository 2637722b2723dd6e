"""The settings of the augmentation: apart from training's, because the cache depends on these."""

from typing import Annotated, Literal

from pydantic import Field

from components.settings import Section


class AugmentationSettings(Section):
    """Random changes of the training photos, and when they are made."""

    mode: Literal["auto", "cached", "on_the_fly"] = "auto"
    """`cached` changes each photo `views` times before training, and keeps what the frozen layers
    make of it; `on_the_fly` changes it anew in every epoch. `auto`: on_the_fly on a GPU."""
    views: Annotated[int, Field(ge=1, le=100)] = 2
    """How many changed views of each training photo the cache holds."""
    horizontal_flip: bool = True
    rotation: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """The largest angle, as a share of a full turn: 0.05 is 18 degrees."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """The largest relative change of contrast."""
