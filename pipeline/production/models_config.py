"""`models.config`, by which servers learn what is in production.

It is what TF Serving takes as `--model_config_file`. Its first line, a comment to servers, holds
the event that has led to it: so one rename puts both into force, the labels and why they are what
they are.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from data.contract.model import MODEL_NAME
from pipeline.production.events import Event, Labels, as_line, from_line
from pipeline.workdir import WorkdirError, write_atomically

_EVENT = "# last change: "


@dataclass(frozen=True)
class Served:
    """What the file says of our model."""

    labels: Labels
    event: Event | None
    """That has led to it; None if somebody else has written the file."""


def read(file: Path) -> Served | None:
    """What a file says; None if there is none.

    Raises:
        WorkdirError: it is damaged.
    """
    if not file.exists():
        return None
    model = _our_model(_parse(file))
    return Served(dict(model.version_labels), _event(file))


def write(
    file: Path, base_path: Path, labels: Labels, versions: Collection[int], event: Event | None
) -> None:
    """Writes what servers are to load, and by which labels; other models in the file are kept.

    Args:
        file: complete and on the disk when this returns, or as before.
        base_path: of the versions; where the file names another, such as that within a container,
            it stays.
        labels: of our model's versions.
        versions: that are to be loaded.
        event: that has led to it.

    Raises:
        OSError: it cannot be written.
        WorkdirError: what is there is damaged.
    """
    config = _parse(file) if file.exists() else model_server_config_pb2.ModelServerConfig()
    model = _our_model(config)
    model.base_path = model.base_path or str(base_path)
    model.model_platform = "tensorflow"
    model.model_version_policy.specific.versions[:] = sorted(versions)
    model.version_labels.clear()
    for label, version in labels.items():
        model.version_labels[label] = version
    first = "" if event is None else f"{_EVENT}{as_line(event)}\n"
    write_atomically(file, first + text_format.MessageToString(config))


def _parse(file: Path) -> Any:
    try:
        return text_format.Parse(
            file.read_text(encoding="utf-8"), model_server_config_pb2.ModelServerConfig()
        )
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise WorkdirError(
            f"{file} is not a text ModelServerConfig ({error}): mend it, or delete it and promote "
            "a version"
        ) from None


def _our_model(config: Any) -> Any:
    """Our model's part of the configuration, which is added if it is not there."""
    for model in config.model_config_list.config:
        if model.name == MODEL_NAME:
            return model
    return config.model_config_list.config.add(name=MODEL_NAME)


def _event(file: Path) -> Event | None:
    with file.open(encoding="utf-8") as lines:
        first = lines.readline()
    try:
        return from_line(first.removeprefix(_EVENT)) if first.startswith(_EVENT) else None
    except ValueError:  # somebody has edited it, as the labels will show
        return None
