"""Make .venv from nothing: what `make setup` runs, with any python3 from 3.9 on.

The C library picks the lock, the lock decides which Pythons will do, and uv installs the lock for
one of them. A finished .venv carries a stamp and is left alone; anything else is made anew.

With `--image FOLDER`, as in the Dockerfile, FOLDER is made in the same way, but does without the
checkout and without the tools of developers: our own package is built and installed, and again
whenever the code has changed. In .venv, where the package is the checkout itself, only a change of
its packaging does that. `--gpu` adds CUDA to an image.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OWN_UV = ROOT / ".uv"
ROOMS = ("data", "components", "pipeline", "serving")  # what setup.py packages
PACKAGING = (ROOT / "pyproject.toml", ROOT / "setup.py")


class SetupError(Exception):
    """What is missing and how to get it, in one line."""


class Lock(NamedTuple):
    file: Path
    pythons: tuple[str, ...]  # best first: only 3.11 can compile for Kubeflow


NEW_GLIBC = Lock(ROOT / "requirements" / "new-glibc.txt", ("3.11", "3.12", "3.13"))
OLD_GLIBC = Lock(ROOT / "requirements" / "old-glibc.txt", ("3.11",))
# What an environment may hold besides its lock.
DEV = ROOT / "requirements" / "dev.txt"
GPU = ROOT / "requirements" / "gpu.txt"


class Environment(NamedTuple):
    folder: Path
    editable: bool  # our own package is the checkout itself, not a copy of it
    additions: tuple[Path, ...]

    def requirements(self, lock: Lock) -> list[Path]:
        return [lock.file, *self.additions]

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


def main(*arguments: str) -> int:
    parser = argparse.ArgumentParser(description="Make .venv, or find it up to date.")
    parser.add_argument(
        "--image",
        type=Path,
        metavar="FOLDER",
        help="make FOLDER instead, which does without this checkout",
    )
    parser.add_argument("--gpu", action="store_true", help="with CUDA; for --image")
    options = parser.parse_args(arguments)
    if options.gpu and options.image is None:
        parser.error("--gpu goes with --image")
    if options.image is None:
        environment = Environment(VENV, True, (DEV,))
    else:
        environment = Environment(options.image.resolve(), False, (GPU,) if options.gpu else ())
    # uv ends with its set-up, and so never writes behind the back of the next one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Path(__file__).open("r+b") as this_file:
            wait_for_turn(this_file)
            prepare(pick_lock(), environment)
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def wait_for_turn(file: BinaryIO) -> None:
    """Lock the file until it is closed: of two set-ups, the second finds the first one's work."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another set-up in this folder")
        fcntl.flock(file, fcntl.LOCK_EX)


def prepare(lock: Lock, environment: Environment) -> None:
    name, stamp = environment.folder.name, environment.folder / "setup-stamp"
    packages = fingerprint(lock, environment)
    code = digest(PACKAGING if environment.editable else own_files())
    installed = stamp.read_text().split() if stamp.is_file() else []
    if installed == [packages, code]:
        say(f"{name} is up to date")
        return
    uv = find_uv()
    if installed[:1] != [packages]:
        packages = install_packages(uv, lock, environment)
    # If our own package fails, the other packages need not be installed again.
    stamp.write_text(f"{packages}\n")
    install_own(uv, environment)
    stamp.write_text(f"{packages}\n{code}\n")
    say(f"{name} is ready")


def install_packages(uv: str, lock: Lock, environment: Environment) -> str:
    """Make the environment from nothing, except for our own package; return its fingerprint."""
    folder = environment.folder
    foreign = folder.is_dir() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file()
    if foreign and not environment.editable:
        raise SetupError(f"{folder} holds something else and would be cleared; name a new folder")
    python = find_python(uv, lock)
    say(f"making {folder.name} with {python}")
    discard(folder)
    run(uv, "venv", "--quiet", "--python", python, str(folder))
    finished = fingerprint(lock, environment)
    build_pyfarmhash(uv, lock, environment)
    files = environment.requirements(lock)
    names = " and ".join(file.name for file in files)
    say(f"installing {names}: 3 GB, minutes if most must be downloaded first")
    # Nothing is resolved here: a lock is complete, and the one for an old glibc deliberately
    # contradicts what two of its packages ask for.
    uv_pip(uv, environment, "sync", *map(str, files))
    return finished


def discard(folder: Path) -> None:
    """Delete a folder that need not be there, and what an interrupted set-up left of one."""
    # Half deleted under its own name, an environment would look like somebody's folder.
    discarded = folder.with_name(f"{folder.name}.discarded")
    shutil.rmtree(discarded, ignore_errors=True)
    if not folder.exists():
        return
    try:
        folder.rename(discarded)
    except OSError as error:
        raise SetupError(
            f"{folder} cannot become {discarded} ({error.strerror}); delete both"
        ) from error
    shutil.rmtree(discarded, ignore_errors=True)


def install_own(uv: str, environment: Environment) -> None:
    """Install our own package: as the checkout itself, or a copy of what is in it now."""
    alone = ("--reinstall", "--no-deps", "--no-build-isolation")
    if environment.editable:
        uv_pip(uv, environment, "install", *alone, "--editable", str(ROOT))
        return
    # Built in the checkout, the wheel could include what earlier builds left there.
    with tempfile.TemporaryDirectory(prefix="dog-emotion-") as copy:
        for file in own_files():
            target = Path(copy, file.relative_to(ROOT))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        uv_pip(uv, environment, "install", *alone, copy)


def own_files() -> list[Path]:
    """The source of our own package."""
    below = (file for room in ROOMS for file in (ROOT / room).rglob("*") if file.is_file())
    return [*PACKAGING, *sorted(file for file in below if file.suffix != ".pyc")]


def pick_lock() -> Lock:
    """The lock whose wheels run on this machine."""
    machine = (sys.platform, platform.machine())
    if machine == ("darwin", "arm64"):
        return NEW_GLIBC
    libc, version = platform.libc_ver()
    if machine != ("linux", "x86_64") or libc != "glibc":
        raise SetupError("TFX has wheels only for x86-64 Linux with glibc and for arm64 macOS")
    return NEW_GLIBC if tuple(map(int, version.split("."))) >= (2, 39) else OLD_GLIBC


def fingerprint(lock: Lock, environment: Environment) -> str:
    """A hash of what makes the packages stale when it changes, including the two folders."""
    python = environment.python
    place = f"{ROOT} {environment.folder} {python.resolve()} {python.exists()}"
    return digest(environment.requirements(lock), place)


def digest(files: Iterable[Path], start: str = "") -> str:
    """A hash of some of this project's files and their names."""
    state = hashlib.sha256(start.encode())
    for file in files:
        state.update(f"{file.relative_to(ROOT)} {file.stat().st_size} ".encode())
        state.update(file.read_bytes())
    return state.hexdigest()


def find_uv() -> str:
    """The machine's uv, or the locked one put into .uv with pip."""
    own = OWN_UV / "bin" / "uv"
    for uv in (shutil.which("uv"), str(own)):
        if uv and succeeds(uv, "--version"):
            return uv
    pip = (sys.executable, "-m", "pip")
    if not succeeds(*pip, "--version"):
        raise SetupError(
            "neither uv nor pip is installed; install one "
            "(Debian, Ubuntu: apt install python3-pip; others: https://docs.astral.sh/uv)"
        )
    say("fetching uv into .uv")
    shutil.rmtree(OWN_UV, ignore_errors=True)
    run(*pip, "install", "-qq", "--no-deps", "--only-binary=:all:", "--target", str(OWN_UV),
        "--requirement", "/dev/stdin", stdin=locked(DEV, "uv"))  # fmt: skip
    return str(own)


def find_python(uv: str, lock: Lock) -> str:
    """The best Python for the lock, on the machine or fetched by uv."""
    best, *others = lock.pythons
    python = installed_python(uv, best)
    if not python:
        say(f"no Python {best} is installed; uv tries to fetch it, for at most a minute")
        succeeds(uv, "python", "install", best, timeout=60)
        python = installed_python(uv, best)
    for version in others:
        if not python and (python := installed_python(uv, version)):
            say(f"taking Python {version}; compiling for Kubeflow would need {best}")
    if not python:
        raise SetupError(
            f"no Python {' or '.join(lock.pythons)} is installed, and uv could not fetch one; "
            f"install it (Debian 12: apt install python3-dev; others: pyenv install {best})"
        )
    return python


def installed_python(uv: str, version: str) -> str | None:
    """The path of that Python: pyenv's, uv's or one on PATH."""
    # pyenv's own folders come first: its shims on PATH fail for versions that are not activated.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    path = [*map(str, sorted(pyenv.glob(f"versions/{version}.*/bin"))), os.environ["PATH"]]
    found = subprocess.run(
        (uv, "python", "find", "--system", version),
        env=os.environ | {"PATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or None


def build_pyfarmhash(uv: str, lock: Lock, environment: Environment) -> None:
    """Install the only C++ source first: a missing compiler shows before 3 GB are downloaded."""
    python = str(environment.python)
    build = subprocess.run(
        (uv, "pip", "install", "--python", python, "--no-deps", "--requirement", "-"),
        input=locked(lock.file, "pyfarmhash"),
        capture_output=True,
        text=True,
    )
    if build.returncode == 0:
        return
    include = "import sysconfig; print(sysconfig.get_path('include'))"
    headers = subprocess.run((python, "-c", include), capture_output=True, text=True).stdout.strip()
    compiler = any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++")))
    if not compiler or not Path(headers, "Python.h").is_file():
        raise SetupError(
            f"pyfarmhash is C++ and needs a compiler and {headers}/Python.h; install what is "
            f"missing (Debian, Ubuntu: apt install g++ {Path(headers).name}-dev; "
            "macOS: xcode-select --install)"
        )
    raise SetupError(f"pyfarmhash cannot be installed:\n{build.stderr}")


def locked(file: Path, package: str) -> str:
    """The lines for one package in a lock or an addition: its version and hashes."""
    lines = re.search(rf"^{package}==(?:.*\\\n)*.*\n", file.read_text(), re.MULTILINE)
    if not lines:
        raise SetupError(f"{file} does not name {package}; run `make lock`")
    return lines.group()


def uv_pip(uv: str, environment: Environment, action: str, *arguments: str) -> None:
    """Run `uv pip` on the environment, showing its progress if somebody is watching."""
    quiet = () if sys.stderr.isatty() else ("--quiet",)
    run(uv, "pip", action, "--python", str(environment.python), *quiet, *arguments)


def run(*command: str, stdin: str | None = None) -> None:
    """Run a command in plain view.

    Raises:
        SetupError: it fails, having printed why itself.
    """
    if subprocess.run(command, input=stdin, text=True).returncode:
        raise SetupError(f"failed: {' '.join(command)}")


def succeeds(*command: str, timeout: float | None = None) -> bool:
    """Whether a command exists, ends in time (seconds) and succeeds; its output is dropped."""
    try:
        return not subprocess.run(command, capture_output=True, timeout=timeout).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def say(message: str) -> None:
    print(f"set-up: {message}", flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
