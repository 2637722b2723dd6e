"""Beam's command line arguments from the configuration's `beam` table."""

from collections.abc import Mapping, Sequence

from data.ingest import BEAM_OPTIONS
from pipeline.config import ConfigError

IN_PROCESS = "in-process"
"""For `sdk_container_image`: no container. Without a name TFX packs itself into an sdist for every
Beam node that has options."""

LOCAL_BEAM_ARGS = (*BEAM_OPTIONS, f"--sdk_container_image={IN_PROCESS}")

Option = str | bool | int | float | list[str]

_LOCAL_RUNNERS = ("DirectRunner", "FnApiRunner")
_WHAT_DATAFLOW_NEEDS = ("project", "region", "temp_location", "sdk_container_image")


def beam_args(options: Mapping[str, Option], *, image: str = "", root: str = "") -> tuple[str, ...]:
    """The arguments of every Beam node; without a `runner`, Beam's own in this process.

    Args:
        options: Beam's options by name; `{image}` and `{root}` within them are replaced. A list is
            an option given several times.
        image: the pipeline's container image.
        root: the pipeline's root.

    Raises:
        ConfigError: a distributed runner lacks what it needs.
    """
    _require_complete(options)
    base = LOCAL_BEAM_ARGS if is_local(options) else ()
    given = {argument.partition("=")[0] for argument in _arguments(options)}
    return (
        *(argument for argument in base if argument.partition("=")[0] not in given),
        *(_filled_in(argument, image=image, root=root) for argument in _arguments(options)),
    )


def is_local(options: Mapping[str, Option]) -> bool:
    """Whether the workers are on the machine of the node itself."""
    return str(options.get("runner", "FnApiRunner")).rpartition(".")[2] in _LOCAL_RUNNERS


def _arguments(options: Mapping[str, Option]) -> Sequence[str]:
    arguments = []
    for name, value in options.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not False:
            values = value if isinstance(value, list) else [value]
            arguments += [f"--{name}={each}" for each in values]
    return arguments


def _filled_in(argument: str, **values: str) -> str:
    for name, value in values.items():
        argument = argument.replace(f"{{{name}}}", value)
    return argument


def _require_complete(options: Mapping[str, Option]) -> None:
    if is_local(options):
        return
    needed = (
        _WHAT_DATAFLOW_NEEDS if "Dataflow" in str(options["runner"]) else ("sdk_container_image",)
    )
    if missing := [f"beam.{name}" for name in needed if not options.get(name)]:
        raise ConfigError(
            f"beam.runner = {options['runner']}: set {', '.join(missing)} too, as in "
            f"--set {missing[0]}=..."
        )
