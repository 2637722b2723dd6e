"""Beam's command-line arguments, from the configuration's `beam` table."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from data.ingest import BEAM_OPTIONS
from pipeline.config import ConfigError

_NO_CONTAINER = "--sdk_container_image=none"
"""Without a name there, TFX packs itself into an sdist for every Beam node that has options."""

LOCAL_BEAM_ARGS = (*BEAM_OPTIONS, _NO_CONTAINER)

_IMPORTED_FIRST = "tfx"
"""By a worker in another process: TFX stands in for a module that TensorFlow Data Validation
imports and tfx-bsl 1.21 lacks."""

Option = str | bool | int | float | list[str]

_LOCAL_RUNNERS = ("DirectRunner", "FnApiRunner")
_WHAT_DATAFLOW_NEEDS = ("project", "region", "temp_location", "sdk_container_image")


def beam_args(options: Mapping[str, Option], *, image: str = "", root: str = "") -> tuple[str, ...]:
    """The arguments for every Beam node; without a `runner`, those of Beam's own in this process.

    Args:
        options: Beam's options by name; `{image}` and `{root}` within them are replaced. A list is
            an option given several times.
        image: the pipeline's container image.
        root: the pipeline's root.

    Raises:
        ConfigError: a distributed runner lacks what it needs.
    """
    _require_complete(options)
    base = _base(options)
    given = {argument.partition("=")[0] for argument in _arguments(options)}
    return (
        *(argument for argument in base if argument.partition("=")[0] not in given),
        *(_filled_in(argument, image=image, root=root) for argument in _arguments(options)),
        *([] if is_local(options) else [f"--beam_plugins={_IMPORTED_FIRST}"]),
    )


def is_local(options: Mapping[str, Option]) -> bool:
    """Whether the workers are on the machine of the node itself."""
    return str(options.get("runner", "FnApiRunner")).rpartition(".")[2] in _LOCAL_RUNNERS


def has_worker_pools(options: Mapping[str, Option]) -> bool:
    """Whether the workers come from pools, which run before there is a job."""
    return str(options.get("environment_type", "")).upper() == "EXTERNAL"


def has_worker_processes(options: Mapping[str, Option]) -> bool:
    """Whether the workers are other processes on this machine."""
    return options.get("direct_running_mode") == "multi_processing"


@contextmanager
def prepared_workers(options: Mapping[str, Option]) -> Iterator[None]:
    """Lets worker processes on this machine find this process, and first import what they need.

    Beam passes them no options, but they read a file of options that the environment names. gRPC
    would look for this process behind the proxy, if there is one.
    """
    if not has_worker_processes(options):
        yield
        return
    before = dict(os.environ)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"beam:option:beam_plugins:v1": [_IMPORTED_FIRST]}, file)
        file.flush()
        os.environ |= {"PIPELINE_OPTIONS_FILE": file.name, "no_grpc_proxy": "localhost"}
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _base(options: Mapping[str, Option]) -> tuple[str, ...]:
    """What the options are laid over."""
    if is_local(options):
        return LOCAL_BEAM_ARGS
    return (_NO_CONTAINER,) if has_worker_pools(options) else ()


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
    if has_worker_pools(options):
        needed: tuple[str, ...] = ("environment_config",)
    elif "Dataflow" in str(options["runner"]):
        needed = _WHAT_DATAFLOW_NEEDS
    else:
        needed = ("sdk_container_image",)
    if missing := [f"beam.{name}" for name in needed if not options.get(name)]:
        raise ConfigError(
            f"beam.runner = {options['runner']}: set {', '.join(missing)} too, as in "
            f"--set {missing[0]}=..."
        )
