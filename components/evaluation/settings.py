"""The gate's settings."""

from components.settings import Section, Share


class GateSettings(Section):
    """What a model must reach on the test photos to be pushed."""

    accuracy_floor: Share | None = None
    """None asks for `SKILL_FLOOR` of the way from the majority share to 1."""
    accuracy_drop: Share = 0.02
    """The largest loss of accuracy against the last blessed model."""
