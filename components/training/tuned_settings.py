"""Settings with a tuner's hyper-parameters laid over them, checked as any others are."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from components.errors import ComponentError
from components.model.settings import ModelSettings
from components.settings import Section
from components.training.hyperparameters import Values, lay_over
from components.training.settings import TrainingSettings

Kind = TypeVar("Kind", bound=Section)


def tuned_settings(
    settings: Mapping[str, Any], values: Values
) -> tuple[ModelSettings, TrainingSettings]:
    """The classifier's and the training's settings.

    Args:
        settings: those of sections `model` and `training`, as JSON values.
        values: the hyper-parameters, by name; those of the settings count where there are none.

    Raises:
        ComponentError: a value is not one that the setting may have.
    """
    laid = lay_over({key: settings[key] for key in ("model", "training")}, values)
    return (
        _validated(ModelSettings, "model", laid),
        _validated(TrainingSettings, "training", laid),
    )


def _validated(kind: type[Kind], key: str, laid: Mapping[str, Any]) -> Kind:
    try:
        return kind.model_validate_json(json.dumps(laid[key]))
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, (key, *problem["loc"])))
        reason = problem["msg"].removeprefix("Input ")
        raise ComponentError(
            f"hyper-parameter {name} = {json.dumps(problem['input'])}: {reason}"
        ) from error
