"""A configuration file that is read again while the server runs, as TF Serving does it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from serving.embedded.config_files import ModelConfig, read_models
from serving.embedded.errors import ServerConfigError
from serving.embedded.versions import Model


class Reloading:
    """Follows a `--model_config_file`: all that it says comes into force, or nothing of it.

    As in TF Serving's `server_core.cc`, labels come first, and a file with a label for a version
    that is not available is refused, with all the versions that it wants. So a version has to be
    loaded by one file before the next one can give it a label. Only the first file may have labels
    for what is not there yet, or no server could start with it: as with TF Serving's
    `--allow_version_labels_for_unavailable_models`.

    Args:
        file: to follow.
        seconds: between two looks.
        in_force: what the file said when the server started.
        models: by name; changed as the file says.
        make: makes a model that is new.
        announce: told in one line that a file is in force, or why it is not.
        awaited: whether the server has started without the file, which comes into force as the
            first one when it appears.
    """

    def __init__(
        self,
        file: Path,
        seconds: float,
        in_force: Sequence[ModelConfig],
        models: dict[str, Model],
        make: Callable[[ModelConfig], Model],
        announce: Callable[[str], None],
        *,
        awaited: bool = False,
    ) -> None:
        self._file = file
        self.seconds = seconds
        self._in_force = list(in_force)
        self._models = models
        self._make = make
        self._announce = announce
        self._awaited = awaited
        self._due = time.monotonic() + seconds
        self._said = ""

    def look(self) -> None:
        """Reads the file if it is time to."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self.seconds
        if self._awaited and not self._file.exists():
            return
        try:
            wanted = read_models(self._file)
            if wanted == self._in_force:
                self._said = ""
                return
            self._require_possible(wanted)
        except ServerConfigError as error:
            self._say(f"config    refused, and what was served before stays: {error}")
            return
        self._apply(wanted)
        self._awaited = False
        self._say(f"config    {self._file} is in force")

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            self._announce(line)

    def _require_possible(self, wanted: Sequence[ModelConfig]) -> None:
        for config in wanted:
            if not config.base_path.is_dir():
                raise ServerConfigError(f"{self._file}: {config.base_path} is not a folder")
            if self._awaited:
                continue
            model = self._models.get(config.name)
            for label, version in config.labels.items():
                if model is None or not model.is_available(version):
                    raise ServerConfigError(
                        f"{self._file}: label {label}: Request to assign label to version "
                        f"{version} of model {config.name}, which is not currently available for "
                        "inference"
                    )

    def _apply(self, wanted: Sequence[ModelConfig]) -> None:
        for config in wanted:
            if config.name in self._models:
                self._models[config.name].adopt(config.base_path, config.policy, config.labels)
            else:
                self._models[config.name] = self._make(config)
        for name in self._models.keys() - {config.name for config in wanted}:
            self._models.pop(name).close()
        self._in_force = list(wanted)
