"""The data gate's settings."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, StringConstraints, model_validator

from components.settings import Section, Share
from data.contract import features

Kind = Literal["anomaly", "drift", "skew"]
"""What the gate looks for: records that break the schema, training photos that differ from those of
an earlier span, and photos served that differ from those trained on."""
ANOMALY, DRIFT, SKEW = get_args(Kind)


class Limits(Section):
    """How far two sets of photos may differ, above what chance alone does to samples of their size.

    The class shares by their largest difference (L-infinity), the rest by the Jensen-Shannon
    divergence of deciles, 0 to 1. Both hold for drift and for skew.
    """

    label: Share = 0.05
    brightness: Share = 0.05
    width: Share = 0.05
    height: Share = 0.05


LIMIT_OF = {
    features.LABEL: "label",
    features.BRIGHTNESS: "brightness",
    features.WIDTH: "width",
    features.HEIGHT: "height",
}
"""The field of `Limits` for each feature that is compared."""


class Waiver(Section):
    """Lets one kind of finding pass for one feature."""

    check: Kind
    feature: str
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

    @model_validator(mode="after")
    def _could_be_found(self) -> Self:
        known = features.ALL if self.check == ANOMALY else tuple(LIMIT_OF)
        if self.feature not in known:
            raise ValueError(f"for {self.check}, feature must be one of {', '.join(known)}")
        return self


class DataGateSettings(Section):
    """What stops a run before anything is learnt from its photos."""

    limits: Limits = Limits()
    served: Annotated[str, Field(min_length=1)] | None = None
    """A folder of photos as they were sent to the server, or a CSV file with the columns path,label
    where the label is what each was answered or is known to be."""
    waivers: tuple[Waiver, ...] = ()
