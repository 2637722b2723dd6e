"""Changing what is in production, so that servers can follow and nothing is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from data.contract.labels import CANARY, MODELS_CONFIG
from pipeline.production import events, models_config
from pipeline.production.events import BY_HAND, Event, Labels
from pipeline.workdir import Workdir, WorkdirError, hold, write_atomically

HISTORY = "production.jsonl"


class Production:
    """What is in production in a folder of runs.

    `models.config` alone decides: what it says is in force, and what has led to it stands in it.
    Should a command be killed before it is in the history, whoever comes next records it.
    """

    def __init__(self, workdir: Workdir) -> None:
        self._workdir = workdir
        self._folder = workdir.serving.parent

    @property
    def file(self) -> Path:
        """What servers read."""
        return self._folder / MODELS_CONFIG

    @property
    def _history(self) -> Path:
        return self._folder / HISTORY

    @property
    def labels(self) -> Labels | None:
        """The versions in production; None if nothing was ever promoted, and servers take the
        newest version.

        Raises:
            WorkdirError: the file is damaged.
        """
        served = models_config.read(self.file)
        return None if served is None else served.labels

    def history(self) -> list[Event]:
        """All that has happened, the oldest first.

        Raises:
            WorkdirError: a file is damaged.
        """
        recorded = events.read(self._history)
        return recorded + self._unrecorded(recorded)

    def _unrecorded(self, recorded: list[Event]) -> list[Event]:
        """What the file tells and the history does not."""
        served = models_config.read(self.file)
        if served is None:
            return []
        found = []
        if served.event is not None and served.event not in recorded:
            found.append(served.event)
        *_, last = [{}, *(event.after for event in recorded + found)]
        if last != served.labels:
            edited = datetime.fromtimestamp(int(self.file.stat().st_mtime), UTC)
            found.append(Event(edited, BY_HAND, last, served.labels))
        return found

    @contextmanager
    def locked(self, patience: float = 0) -> Iterator[None]:
        """Keeps others from changing anything meanwhile, and records what was not yet.

        Args:
            patience: seconds that a command which is changing something is given to end.

        Raises:
            WorkdirError: somebody else is changing something still, or a file cannot be read or
                written.
        """
        root = self._workdir.root
        busy = f"another command is changing what {root} serves; wait for it"
        with hold(self._folder / ".lock", busy, patience):
            try:
                self._record(*self._unrecorded(events.read(self._history)))
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    def change(self, command: str, after: Labels, why: str, load: Callable[[int], None]) -> Event:
        """Gives other versions the labels. The caller holds the lock.

        TF Serving refuses a file with a label for a version that it has not loaded, with all that
        the file says. So the first file only adds the version to those to load; the next one, when
        servers have loaded it, gives it the label and drops the version that has lost its own.

        Args:
            command: that does it.
            after: the labels from now on.
            why: in the words of the user, on one line.
            load: waits until servers have loaded a version; not called if it had a label already,
                or if there are no servers yet that read the file.

        Raises:
            WorkdirError: a file cannot be written; the message says what that means.
            UserError: what `load` raises; then all is as before.
        """
        before = self.labels
        event = Event(_now(), command, before or {}, after, why)
        try:
            if before is not None:
                self._load_first(before, set(after.values()) - set(before.values()), load)
            self._write(after, set(after.values()), event)
            self._record(event)
        except OSError as error:
            if self.labels != after:
                raise self._unwritable(error) from error
            raise WorkdirError(
                f"the change is in force, but {self._folder} cannot be written "
                f"({error.strerror}): make room, and the next command will record it"
            ) from error
        return event

    def _load_first(self, labels: Labels, new: set[int], load: Callable[[int], None]) -> None:
        if not new:
            return
        content = self.file.read_text(encoding="utf-8")
        served = models_config.read(self.file)
        assert served is not None  # there are labels
        self._write(labels, {*labels.values(), *new}, served.event)
        try:
            for version in sorted(new):
                load(version)
        except BaseException:
            write_atomically(self.file, content)
            raise

    def decide(self, command: str, version: int, why: str) -> Event:
        """Records a decision about a version that changes no label. The caller holds the lock.

        Raises:
            WorkdirError: it cannot be written; then it was not made.
        """
        labels = self.labels or {}
        event = Event(_now(), command, labels, labels, why, version)
        try:
            self._record(event)
        except OSError as error:
            raise self._unwritable(error) from error
        return event

    def _write(self, labels: Labels, versions: set[int], event: Event | None) -> None:
        models_config.write(self.file, self._workdir.serving, labels, versions, event)

    def _record(self, *found: Event) -> None:
        if found:
            events.append(self._history, found)

    def _unwritable(self, error: OSError) -> WorkdirError:
        return WorkdirError(
            f"{self._folder} cannot be written ({error.strerror}): make room and try again; the "
            "labels are as before"
        )


def without(labels: Labels, version: int) -> dict[str, int]:
    """The labels but for the canary's, if it is this version."""
    return {label: each for label, each in labels.items() if (label, each) != (CANARY, version)}


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
