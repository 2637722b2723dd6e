"""The gate's settings."""

from typing import Annotated

from pydantic import Field

from components.settings import Section, Share


class GateSettings(Section):
    """What a model must reach on the test photos, and what it may cost, to be pushed."""

    accuracy_floor: Share | None = None
    """What the lower 95 % bound of the accuracy must reach."""
    over_majority: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """How far above the share of the commonest class that bound must be; -1 asks for nothing."""
    recall_floor: Share | None = None
    """What the recall of every class must reach; None asks for half of what guessing has."""
    calibration_error: Share = 0.05
    """The largest true calibration error: how far, on average, what a model says of its certainty
    may be from how often it is right."""
    size_mb: Annotated[float, Field(gt=0)] = 500.0
    """The largest model, in millions of bytes."""
    latency_ms: Annotated[float, Field(gt=0)] = 1000.0
    """The longest median time for one photo."""
    error_rate: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """How often chance alone may block a model that is as good as those before it and within the
    other limits. A lower one lets larger losses pass; 0 lets all pass."""
