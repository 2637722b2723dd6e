"""What a user's runs need: the command, and what a folder held before and after."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Result = subprocess.CompletedProcess[str]
Command = Callable[..., Result]
Snapshot = dict[str, str]


@pytest.fixture(scope="session")
def dog_emotion() -> str:
    """The command, as `make setup` installs it."""
    return str(Path(sys.executable).with_name("dog-emotion"))


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a machine without internet and without weights from earlier downloads.

    So the backbone is Lite0, whose weights come with a package, wherever the tests run.
    """
    nowhere = "http://127.0.0.1:9"  # the discard port
    return {
        **os.environ,
        "https_proxy": nowhere,
        "HTTPS_PROXY": nowhere,
        "KERAS_HOME": str(tmp_path_factory.mktemp("keras")),
    }


@pytest.fixture(scope="session")
def run(dog_emotion: str, offline: Mapping[str, str]) -> Command:
    """Runs the command in a folder to its end; `environment` is added to the machine's."""

    def run(*arguments: str, cwd: Path, **environment: str) -> Result:
        return subprocess.run(
            [dog_emotion, *arguments],
            cwd=cwd,
            env={**offline, **environment},
            capture_output=True,
            text=True,
            timeout=900,
        )

    return run


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], Snapshot]:
    """Tells the content of a file, or of every file below a folder, by its hash."""

    def snapshot(root: Path) -> Snapshot:
        files = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}

    return snapshot
