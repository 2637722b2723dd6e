"""The classifier's settings."""

from typing import Annotated

from pydantic import Field, field_validator

from components.model.backbone import names
from components.settings import Section, Share


class ModelSettings(Section):
    """The classifier: a backbone, GlobalAveragePooling2D, dropout, softmax."""

    backbone: str = "auto"
    """`auto`, or the name of a module in `components.model.backbones`."""
    weights: Annotated[str, Field(min_length=1)] = "auto"
    """`auto`, `imagenet`, `random`, or a `.weights.h5` or `.keras` file, local or gs://."""
    unfreeze_layers: Annotated[int, Field(ge=1, le=1000)] = 30
    """The last layers of the backbone that phase `unfrozen` trains, BatchNormalization aside."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @field_validator("backbone")
    @classmethod
    def _is_one(cls, backbone: str) -> str:
        if backbone not in (allowed := ["auto", *names()]):
            raise ValueError(f"should be one of {', '.join(allowed)}")
        return backbone


class AnswerSettings(Section):
    """When an exported model says that it is certain."""

    accuracy: Share = 0.7
    """The share of certain answers that should be right. On 4,082 photos with noisy labels, 47 % of
    which are told rightly, 14 to 33 % of the answers are certain at 0.7, and few or none at 0.8."""
