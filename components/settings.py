"""What a user may set of the nodes' work: typed, validated, with the defaults.

`pipeline.config` embeds these sections; they travel to the nodes as JSON.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10_000)]


class Section(BaseModel):
    """A group of settings: unknown keys and implicit conversions are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSettings(Section):
    """The classifier: a backbone, GlobalAveragePooling2D, dropout, softmax."""

    backbone: Literal["auto", "efficientnet_b0", "efficientnet_lite0", "tiny"] = "auto"
    weights: Annotated[str, Field(min_length=1)] = "auto"
    """`auto`, `imagenet`, `random`, or a `.weights.h5` or `.keras` file, local or gs://."""
    unfreeze_layers: Annotated[int, Field(ge=1, le=1000)] = 30
    """The last layers of the backbone that phase `unfrozen` trains, BatchNormalization aside."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class PhaseSettings(Section):
    """One phase of training."""

    epochs: Annotated[int, Field(ge=0, le=10_000)]
    """The most epochs; early stopping may end the phase before. 0 leaves it out."""
    learning_rate: Rate
    """Of Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine` lets the learning rate fall to 0 over the epochs of the phase."""


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


class TrainingSettings(Section):
    """The two phases of transfer learning."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of each training label that is spread over all classes."""
    patience: Count = 3
    """Epochs without a lower validation loss before a phase stops."""
    frozen: PhaseSettings = PhaseSettings(epochs=10, learning_rate=1e-3)
    unfrozen: PhaseSettings = PhaseSettings(epochs=10, learning_rate=1e-4)
    augmentation: AugmentationSettings = AugmentationSettings()


class GateSettings(Section):
    """What a model must reach on the test photos to be pushed."""

    accuracy_floor: Share | None = None
    """None asks for `SKILL_FLOOR` of the way from the majority share to 1."""
    accuracy_drop: Share = 0.02
    """The largest loss of accuracy against the last blessed model."""
