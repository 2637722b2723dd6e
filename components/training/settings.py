"""The settings of the two phases of training."""

from typing import Annotated, Literal

from pydantic import Field

from components.settings import Count, Rate, Section
from components.training.augmentation_settings import AugmentationSettings


class PhaseSettings(Section):
    """One phase of training."""

    epochs: Annotated[int, Field(ge=0, le=10_000)]
    """The most epochs; early stopping may end the phase sooner. 0 leaves the phase out."""
    learning_rate: Rate
    """Adam's."""
    schedule: Literal["constant", "cosine"] = "constant"
    """`cosine` lets the learning rate fall to 0 over the epochs of the phase."""


class FrozenSettings(PhaseSettings):
    """The phase of the head alone."""

    solver: Literal["lbfgs", "adam"] = "lbfgs"
    """`lbfgs` finds the head's optimum at once, with a penalty chosen by cross-validation; the
    learning rate and the schedule are `adam`'s, and so is the number of epochs."""


class TrainingSettings(Section):
    """The two phases of transfer learning."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of each training label that is spread over all classes, where a phase is trained by
    epochs and no ensemble teaches."""
    patience: Count = 3
    """Epochs without a lower validation loss before a phase stops."""
    refit: bool = False
    """Once the validation photos have chosen the epochs, trains anew on them too, for as many
    steps; the figures of training, and what the answers rest on, are those of before."""
    distill: bool = False
    """Lets an ensemble teach one classifier on its first backbone, which alone is exported: in its
    phase `unfrozen`, half of each label is what the ensemble says of the same view."""
    warm_start: bool = False
    """Goes on from the model that was pushed last, if there is one, and then leaves out phase
    `frozen`. For a few changes among many photos, on this machine only."""
    tune: bool = False
    """Searches better values of some of these settings, before training with them."""
    frozen: FrozenSettings = FrozenSettings(epochs=10, learning_rate=1e-3)
    unfrozen: PhaseSettings = PhaseSettings(epochs=10, learning_rate=1e-4)
    augmentation: AugmentationSettings = AugmentationSettings()
