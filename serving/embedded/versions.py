"""The versions of a model: found in its folder, loaded, used and let go of again."""

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from data.contract.labels import CANARY, STABLE
from data.contract.servable import is_complete
from serving.embedded.servable import Servable
from serving.embedded.status import Code, RequestError, invalid

_log = logging.getLogger(__name__)

_INT64_MAX = 2**63 - 1


class State(StrEnum):
    """Where a version stands, in TF Serving's words."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True)
class Policy:
    """Which of the versions in the folder are wanted: the newest `latest`, all, or these."""

    latest: int | None = 1
    """None wants all."""
    specific: tuple[int, ...] = ()
    """Where there are any, nothing else is wanted."""

    def choose(self, present: Sequence[int]) -> list[int]:
        """The wanted ones of those present, newest first."""
        newest_first = sorted(present, reverse=True)
        if self.specific:
            return [number for number in newest_first if number in self.specific]
        return newest_first[: self.latest]


@dataclass(frozen=True)
class VersionStatus:
    """What the REST API tells of a version."""

    version: int
    state: State
    code: Code
    message: str


class Use(NamedTuple):
    """A version while a request uses it."""

    version: int
    servable: Servable
    label: str
    """By which it was found; empty if it was not by a label."""


@dataclass
class _Version:
    number: int
    stamp: tuple[object, ...]
    """Of the folder when this was loaded: if it is different now, another try is worthwhile."""
    state: State = State.START
    error: RequestError | None = None
    loaded: Servable | None = None
    users: int = 0


@dataclass
class Model:
    """A model and those of its versions that are loaded.

    One thread calls `refresh` again and again; any number of others use what is loaded meanwhile.
    """

    name: str
    base_path: Path
    load: Callable[[Path], Servable]
    """Loads and warms up a version; raises RequestError where it cannot."""
    policy: Policy = Policy()
    labels: dict[str, int] = field(default_factory=dict)
    """Names of versions, for clients."""
    canary_share: float | None = None
    """Of the requests that name neither a version nor a label, the share in [0, 1] that goes to the
    canary; the others go to what is stable. None has the newest version answer them all, as in TF
    Serving, as does a model of which no version with these labels is available."""

    def __post_init__(self) -> None:
        self._versions: dict[int, _Version] = {}
        self._changed = threading.Condition()

    @contextmanager
    def use(self, version: int | None = None, label: str | None = None) -> Iterator[Use]:
        """A version, which stays loaded for as long as the block runs.

        Args:
            version: its number.
            label: its label, in place of a number. With neither, `canary_share` decides.

        Raises:
            RequestError: there is no such label, or the version is not available.
        """
        with self._changed:  # a label must not move on before its version is held
            if label is not None:
                version = self.version_of(label)
            elif version is None:
                version, label = self._choose()
            entry = None if version is None else self._versions.get(version)
            if entry is None or entry.state is not State.AVAILABLE:
                raise not_found(self.name, version)
            entry.users += 1
        assert entry.loaded is not None  # an available version is
        try:
            yield Use(entry.number, entry.loaded, label or "")
        finally:
            with self._changed:
                entry.users -= 1
                self._changed.notify_all()

    def _choose(self) -> tuple[int | None, str | None]:
        """The version for a request that names none, and by which label it was chosen."""
        if self.canary_share is not None:
            canary = random.random() < self.canary_share
            for label in (CANARY, STABLE) if canary else (STABLE,):
                if label in self.labels and self.is_available(self.labels[label]):
                    return self.labels[label], label
        available = (n for n, v in self._versions.items() if v.state is State.AVAILABLE)
        return max(available, default=None), None

    def is_available(self, version: int) -> bool:
        """Whether a version can be used."""
        entry = self._versions.get(version)
        return entry is not None and entry.state is State.AVAILABLE

    def adopt(self, base_path: Path, policy: Policy, labels: Mapping[str, int]) -> None:
        """Takes over another configuration: labels at once, versions at the next `refresh`."""
        with self._changed:
            self.base_path, self.policy, self.labels = base_path, policy, dict(labels)

    def version_of(self, label: str) -> int:
        """The version that a label stands for.

        Raises:
            RequestError: there is no such label.
        """
        if label not in self.labels:
            raise unknown_label(label)
        return self.labels[label]

    def statuses(self) -> list[VersionStatus]:
        """All versions that were ever wanted, newest first."""
        with self._changed:
            versions = sorted(self._versions.values(), key=lambda v: v.number, reverse=True)
            return [
                VersionStatus(
                    version=version.number,
                    state=version.state,
                    code=version.error.code if version.error else Code.OK,
                    message=version.error.message if version.error else "",
                )
                for version in versions
            ]

    def refresh(self) -> None:
        """Looks into the folder once: loads what is wanted, then lets go of what is not.

        A version is only let go of when a wanted one serves in its place, or none is there at all.
        """
        stamps = _complete_versions(self.base_path)
        if stamps is None:
            return
        wanted = self.policy.choose(list(stamps))
        for number in wanted:
            self._try_to_load(number, stamps[number])
        serving = [n for n, v in self._versions.items() if v.state is State.AVAILABLE]
        if not wanted or set(wanted) & set(serving):
            for number in set(serving) - set(wanted):
                self._unload(self._versions[number])

    def close(self) -> None:
        """Lets go of all versions."""
        for version in list(self._versions.values()):
            if version.state is State.AVAILABLE:
                self._unload(version)

    def _try_to_load(self, number: int, stamp: tuple[object, ...]) -> None:
        before = self._versions.get(number)
        if before and before.state is State.AVAILABLE:
            return
        if before and before.error and before.stamp == stamp:
            return  # it would fail again
        version: _Version = _Version(number, stamp, State.LOADING)
        with self._changed:
            self._versions[number] = version
        try:
            loaded = self.load(self.base_path / str(number))
        except RequestError as error:
            self._fail(version, error)
            return
        except Exception as error:  # or nobody would look after the versions any more
            _log.exception("%s cannot be loaded", self.base_path / str(number))
            self._fail(version, RequestError(Code.UNKNOWN, f"{type(error).__name__}: {error}"))
            return
        with self._changed:
            version.state, version.loaded = State.AVAILABLE, loaded

    def _fail(self, version: _Version, error: RequestError) -> None:
        with self._changed:
            version.state, version.error = State.END, error

    def _unload(self, version: _Version) -> None:
        with self._changed:
            version.state = State.UNLOADING
            self._changed.wait_for(lambda: version.users == 0)
            loaded, version.loaded = version.loaded, None
        try:
            if loaded is not None:
                loaded.close()
        finally:
            with self._changed:
                version.state = State.END


def not_found(name: str, version: int | None) -> RequestError:
    """The error for a model or version that is not there to be used."""
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return RequestError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")


def unknown_label(label: str) -> RequestError:
    """The error for a label that no version has."""
    return invalid(f"Unrecognized servable version label: {label}")


def _complete_versions(base_path: Path) -> dict[int, tuple[object, ...]] | None:
    """The complete versions, each with a stamp; None if the folder cannot be read."""
    try:
        folders = list(base_path.iterdir())
    except OSError:
        return None
    found = {}
    for folder in folders:
        if not (folder.name.isascii() and folder.name.isdigit()):
            continue
        number = int(folder.name)
        if number > _INT64_MAX or str(number) != folder.name:
            continue
        if stamp := _stamp(folder):
            found[number] = stamp
    return found


def _stamp(folder: Path) -> tuple[object, ...]:
    """Sizes and times of a version's files; empty if one that it needs is missing.

    The times are those of the last change of any kind: a copy may keep the time of the last write.
    """
    try:
        if not is_complete(folder):
            return ()
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return tuple(
            (str(file), status.st_size, status.st_ctime_ns)
            for file in files
            for status in [file.stat()]
        )
    except OSError:
        return ()  # it is going away, or being written
