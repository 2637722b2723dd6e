"""The folder of a run: what is where in it, who may use it, what it remembers."""

import fcntl
import json
import os
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from data.contract.errors import UserError
from data.contract.model import MODEL_NAME
from data.contract.whole_files import write_whole
from pipeline.config import Config, ConfigError, parse_config

_MEANINGFUL = frozenset("*?[]{}\\^$|")
"""Each has a meaning to Beam's or TensorFlow's globbing, or to the regular expressions that TFX
makes of paths."""
_LONGEST_DATABASE = 504
"""Bytes in the path of a database: SQLite's 512, less `-journal`."""
_TRY_AGAIN_SECONDS = 0.2
"""Between two tries to have a lock that another process holds."""


class WorkdirError(UserError):
    """The folder cannot be used; the message is one line that names it and the fix."""


def require_plain(option: str, folder: Path) -> None:
    """Refuses a folder whose path the libraries take for something else, before it is made.

    Args:
        option: what named the folder.
        folder: the path as they will be given it.

    Raises:
        ConfigError: the message names the characters.
    """
    wrong = sorted({char for char in str(folder) if char in _MEANINGFUL or _is_unwritable(char)})
    if wrong:
        raise ConfigError(
            f"{option} {str(folder)!r}: a path with {' '.join(map(repr, wrong))} in it cannot be "
            "used: Beam, TFX or TensorFlow takes it for a pattern or not for text; name another"
        )


def _is_unwritable(char: str) -> bool:
    """Whether it is a control character, or stands for a byte that is not UTF-8."""
    return unicodedata.category(char) in ("Cc", "Cs")


def write_atomically(file: Path, text: str) -> None:
    """Writes a text file as `write_whole` does, in UTF-8, beside itself first.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(file, text.encode(), file.with_name(f".{file.name}.tmp"))


@contextmanager
def hold(lock: Path, busy: str, patience: float = 0) -> Iterator[None]:
    """Holds a lock on a file, which is made, for as long as the block runs.

    Args:
        lock: the file; its lock goes with the process, however that ends.
        busy: what to say if another process holds it.
        patience: seconds that the other one is given to let go of it.

    Raises:
        WorkdirError: another one does still, or the file cannot be made.
    """
    try:
        file = lock.open("w")
    except OSError as error:
        raise WorkdirError(
            f"cannot write in {lock.parent}: {error.strerror}; name another --workdir"
        ) from None
    with file:
        deadline = time.monotonic() + patience
        while not _is_locked(file):
            if time.monotonic() >= deadline:
                raise WorkdirError(busy)
            time.sleep(_TRY_AGAIN_SECONDS)
        yield


def _is_locked(file: TextIO) -> bool:
    """Whether the lock on a file could be had at once, and is ours now."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Workdir:
    """The paths in one run's folder; other files there are left alone."""

    root: Path

    @property
    def drawn_photos(self) -> Path:
        """The photos that the demo draws."""
        return self.root / "drawn"

    @property
    def data(self) -> Path:
        """`span-N` folders of TFRecord shards."""
        return self.root / "data"

    @property
    def review(self) -> Path:
        """What a review keeps between two starts."""
        return self.root / "review"

    @property
    def pipeline_root(self) -> Path:
        """TFX's artifacts."""
        return self.root / "pipeline"

    @property
    def metadata(self) -> Path:
        """The MLMD database."""
        return self.root / "metadata.sqlite"

    @property
    def serving(self) -> Path:
        """The model's versions, as TF Serving's `--model_base_path` takes it."""
        return self.root / "serving" / MODEL_NAME

    @property
    def log(self) -> Path:
        """What the libraries had to say in the last run."""
        return self.root / "run.log"

    @property
    def metrics(self) -> Path:
        """The figures of the last run."""
        return self.root / "metrics.json"

    @property
    def curves(self) -> Path:
        """The training curves of the last run."""
        return self.root / "curves.png"

    @property
    def tuned(self) -> Path:
        """The settings that the last search has found, as `--config` takes them."""
        return self.root / "tuned.toml"

    @property
    def report(self) -> Path:
        """The report on the last run."""
        return self.root / "report" / "index.html"

    @property
    def _config(self) -> Path:
        return self.root / "config.json"

    def require_usable(self) -> None:
        """Refuses a folder in which a run would fail, before it is made.

        Raises:
            ConfigError: the message names the folder and what is wrong with its path.
        """
        require_plain("--workdir", self.root)
        beyond = len(os.fsencode(self.metadata)) - _LONGEST_DATABASE
        if beyond > 0:
            raise ConfigError(
                f"--workdir {self.root}: SQLite cannot open a path that long; name one at "
                f"least {beyond} bytes shorter"
            )

    def stored_config(self) -> Config | None:
        """The resolved configuration of the last run, if there was one.

        Raises:
            ConfigError: the file is not what `store_config` wrote.
        """
        if not self._config.exists():
            return None
        try:
            return parse_config(json.loads(self._config.read_text()))
        except (ValueError, ConfigError) as error:
            raise ConfigError(f"{self._config}: {error}; delete the file and run again") from None

    def store_config(self, config: Config) -> None:
        """Keeps the resolved configuration with the run."""
        write_atomically(self._config, config.model_dump_json(indent=2))

    def store_tuned(self, settings: str) -> None:
        """Keeps what a search has found with the run."""
        write_atomically(self.tuned, settings)

    def store_report(self, page: str) -> None:
        """Keeps the report with the run."""
        self.report.parent.mkdir(exist_ok=True)
        write_atomically(self.report, page)

    def store_metrics(self, metrics: dict[str, Any]) -> None:
        """Keeps the figures with the run."""
        write_atomically(self.metrics, json.dumps(metrics, indent=2))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, proves that it can be written, and keeps other runs out.

        Raises:
            WorkdirError: it cannot be written, or another run is in it.
        """
        with self._locked(".lock", "run"):
            yield

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The same for watches, beside which there are runs.

        Raises:
            WorkdirError: it cannot be written, or another watch looks after it.
        """
        with self._locked(".watch.lock", "watch"):
            yield

    @contextmanager
    def _locked(self, name: str, who: str) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise WorkdirError(
                f"cannot write in {self.root}: {error.strerror}; name another --workdir"
            ) from None
        busy = f"another {who} is using {self.root}; wait for it or name another --workdir"
        with hold(self.root / name, busy):
            yield
