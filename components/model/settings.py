"""The classifier's settings."""

from typing import Annotated, Self

from pydantic import Field, field_validator

from components.model.backbone import names
from components.settings import Section, Share


class ModelSettings(Section):
    """The classifier: a backbone, GlobalAveragePooling2D, dropout, softmax."""

    backbone: str | tuple[str, ...] = "auto"
    """`auto`, or the name of a module in `components.model.backbones`. Several names make an
    ensemble: each is trained for itself, and the answer is the softmax of their mean logits."""
    weights: Annotated[str, Field(min_length=1)] = "auto"
    """`auto`, `imagenet`, `random`, or a `.weights.h5` or `.keras` file, local or gs://."""
    unfreeze_layers: Annotated[int, Field(ge=1, le=1000)] = 30
    """The last layers of the backbone that phase `unfrozen` trains, BatchNormalization aside."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @property
    def backbones(self) -> tuple[str, ...]:
        """The names: one, or those of an ensemble's members."""
        return (self.backbone,) if isinstance(self.backbone, str) else self.backbone

    @property
    def members(self) -> list[Self]:
        """The settings of each backbone by itself."""
        return [self.model_copy(update={"backbone": name}) for name in self.backbones]

    @field_validator("backbone")
    @classmethod
    def _exists(cls, backbone: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(backbone, str):
            if backbone not in (allowed := ["auto", *names()]):
                raise ValueError(f"should be one of {', '.join(allowed)}")
        elif not 1 < len(backbone) == len({*backbone} & {*names()}):
            raise ValueError(f"several should be different ones of {', '.join(names())}")
        return backbone


class AnswerSettings(Section):
    """When an exported model says that it is certain."""

    accuracy: Share = 0.7
    """The share of certain answers that should be right. On 4,082 photos with noisy labels, 47 % of
    which are told rightly, 14 to 33 % of the answers are certain at 0.7, and few or none at 0.8."""
