"""What every section of the settings is made of: typed, validated, with defaults.

The sections lie in the rooms that they are for, so that a new default throws away only what
depends on it. `pipeline.config` embeds them; they travel to the nodes as JSON.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10_000)]


class Section(BaseModel):
    """A group of settings: unknown keys and implicit conversions are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
