"""The hyper-parameters that a tuner chooses, each named as the setting that it is.

Left to people are the settings that decide which activations are cached (the backbone, its unfrozen
layers, the augmentation), because every value of them would have all photos computed anew; the
epochs, which are the budget; and the seed, by which nothing may be chosen but chance.
"""

import json
from collections.abc import Mapping
from typing import Any

from components.errors import ComponentError

Values = dict[str, Any]
"""By the name of the setting, as in `training.batch_size`."""

HEAD: Mapping[str, tuple[str | int | float, ...]] = {
    "model.dropout": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    "training.label_smoothing": (0.0, 0.05, 0.1, 0.2),
    "training.batch_size": (16, 32, 64, 128),
    # A head at its optimum knows nothing of the other hyper-parameters.
    "training.frozen.solver": ("adam",),
    "training.frozen.learning_rate": (0.0003, 0.001, 0.003, 0.01),
    "training.frozen.schedule": ("constant", "cosine"),
}
"""What shows in the head alone already, and the values that are tried."""
TAIL = "training.unfrozen.learning_rate"
"""What shows only once the backbone's last layers are trained."""
NAMES = (*HEAD, TAIL)

_OF_THE_SEARCH = "tuner/"
"""How the names begin under which a search keeps its own books among the values of a trial."""
UNFROZEN = f"{_OF_THE_SEARCH}unfrozen"
"""There if the trial was unfrozen: 0 for the settings as they were, else the rank of its head."""


def searched(values: Mapping[str, Any]) -> Values:
    """The values of a trial, without the search's own books."""
    return {name: value for name, value in values.items() if not name.startswith(_OF_THE_SEARCH)}


def read_values(hyperparameters: object) -> Values:
    """The values that an artifact of hyper-parameters holds.

    Args:
        hyperparameters: what its file says: a KerasTuner HyperParameters' config as JSON values.

    Raises:
        ComponentError: it is something else, or holds a hyper-parameter that is none.
    """
    values = hyperparameters.get("values") if isinstance(hyperparameters, dict) else None
    if not isinstance(values, dict):
        raise ComponentError(
            'the hyper-parameters are not those of a tuner: expected {"values": {...}}'
        )
    found = searched(values)
    for name, value in found.items():
        if name not in NAMES:
            raise ComponentError(
                f"hyper-parameter {name} = {json.dumps(value)}: no such one; "
                f"allowed are {', '.join(NAMES)}"
            )
    return found


def current_values(settings: Mapping[str, Any]) -> Values:
    """The values that settings, as JSON values, have now."""
    values = {}
    for name in NAMES:
        value: Any = settings
        for key in name.split("."):
            value = value[key]
        values[name] = value
    return values


def lay_over(settings: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Settings, as JSON values, with these in the place of their own."""
    laid: dict[str, Any] = json.loads(json.dumps(settings))
    for name, value in values.items():
        *path, key = name.split(".")
        section = laid
        for part in path:
            section = section[part]
        section[key] = value
    return laid


def as_text(values: Values, before: Values) -> str:
    """Those of the values that are others than before, in a line, as `--set` takes each."""
    changed = (f"{name}={value}" for name, value in values.items() if value != before[name])
    return " ".join(changed) or "the settings as they were"


def as_toml(values: Values) -> str:
    """The values as the text of a file that `--config` takes."""
    tables: dict[str, list[str]] = {}
    for name, value in values.items():
        table, _, key = name.rpartition(".")
        tables.setdefault(table, []).append(f"{key} = {json.dumps(value)}")
    return "\n".join("\n".join([f"[{table}]", *lines, ""]) for table, lines in tables.items())
