"""What was measured of a model, and what the gate says about it: plain values, kept as JSON."""

from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from components.errors import ComponentError
from components.reliability import Bin
from data.contract.servable import Cost

VERDICT = "verdict.json"
"""The file in an evaluation that holds an `Evaluation`."""


@dataclass(frozen=True)
class Comparison:
    """Another model on the same photos."""

    accuracy: float
    loss: float
    gained: int
    """Photos that the new model has right and the other one wrong."""
    lost: int
    """Photos that the new model has wrong and the other one right."""


@dataclass(frozen=True)
class Slice:
    """Some of the test photos."""

    by: str
    """What they have in common, as in `analysis`."""
    name: str
    photos: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy."""
    loss: float
    calibration_error: float


@dataclass(frozen=True)
class Figures:
    """The figures of one model on the test photos; what the gate judges."""

    photos: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy."""
    majority: float
    """Accuracy of always naming the most frequent class."""
    loss: float
    recall: dict[str, float]
    confusion: list[list[int]]
    """Photos by actual (row) and predicted (column) class id."""
    calibration_error: float
    """Expected calibration error over `bins`."""
    bins: list[Bin]
    """Those that hold a photo, the least sure first."""
    cost: Cost
    last: Comparison | str
    """The model that was pushed last, or why there is none to compare with."""
    best: Comparison | str
    """The most accurate of the versions before that one, or why there is none."""
    others: int
    """How many versions it is the best of."""
    test_looks: int | None
    """How many evaluations have seen any of these photos, this one included; None if that is not
    known here."""
    slices: list[Slice]


@dataclass(frozen=True)
class Condition:
    """One condition of the gate."""

    name: str
    limit: float | None
    """None where there is nothing to compare with."""
    measured: float | None
    passed: bool
    at_least: bool = True
    """Whether the limit is the least that passes, or the most."""
    unit: str = ""
    """`MB` or `ms`; empty for shares."""
    remark: str = ""
    """What the verdict is worth, in words."""


@dataclass(frozen=True)
class Evaluation(Figures):
    """The figures and the gate's verdict."""

    conditions: list[Condition]
    blessed: bool
    model: str
    """Fingerprint of the model."""


EVALUATION: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)


def read_evaluation(uri: str) -> Evaluation:
    """Reads an Evaluator's output.

    Args:
        uri: the ModelEvaluation artifact, local.

    Raises:
        ComponentError: it is damaged.
    """
    file = Path(uri) / VERDICT
    try:
        return EVALUATION.validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ComponentError(f"{file} is damaged: {error}") from error
