"""What waits for a run, read from what is on the disk: the photos, the spans and the runs."""

from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data import span_photos, spans, window
from data.contract.nodes import PUSHER
from data.folder import find_photos, settled
from pipeline.lineage.history import began
from pipeline.outputs import PIPELINE_RUN, Outputs, newest_run, open_store, read_outputs
from pipeline.workdir import Workdir


class Ended(StrEnum):
    """How the last run ended."""

    WHOLE = "whole"
    """With the gate's verdict, whatever that is."""
    FAILED = "failed"
    NOT_YET = "not yet"
    """It was killed, and goes on if it is started again."""


@dataclass(frozen=True)
class LastRun:
    """The newest run of a folder."""

    name: str
    when: datetime
    """When it began, with a time zone."""
    ended: Ended
    failed_nodes: frozenset[str]


@dataclass(frozen=True)
class Backlog:
    """What waits for a run."""

    new: frozenset[str]
    """The names of the photos that the last run has not seen, and that are copied to their end."""
    last: LastRun | None

    def is_due(self, enough: int, days: float, now: datetime) -> bool:
        """Whether it is time for a run.

        Args:
            enough: new photos that are worth one, the first one, too.
            days: after the last run when one new photo is, or none if that run has failed.
            now: with a time zone.
        """
        if self.last is None:
            return len(self.new) >= enough
        if self.last.ended is Ended.NOT_YET or len(self.new) >= enough:
            return True
        waits = bool(self.new) or self.last.ended is Ended.FAILED
        return waits and now - self.last.when >= timedelta(days=days)

    def without(self, tried: Set[str], when: datetime) -> "Backlog":
        """What waits after a run that has come to nothing.

        Args:
            tried: the photos that it was for.
            when: it began, with a time zone.
        """
        return Backlog(self.new - tried, LastRun("", when, Ended.FAILED, frozenset()))


def read_backlog(photos: Path, workdir: Workdir, settled_seconds: float) -> Backlog:
    """What waits for a run.

    Args:
        photos: class folders, or a CSV table of path,label.
        workdir: where the runs are; no run is in it now.
        settled_seconds: photos that have changed since are not counted.

    Raises:
        DataError: photos or spans cannot be read.
        UserError: the metadata store is damaged.
    """
    seen: Set[str] = frozenset()
    last = None
    if workdir.metadata.is_file():
        store = open_store(workdir.metadata)
        if store.get_contexts_by_type(PIPELINE_RUN):
            run = newest_run(store)
            last = _describe(store, run)
            seen = _names(workdir.data / f"span-{run.custom_properties['span'].int_value}")
    found = {photo.name for photo in settled(find_photos(photos), settled_seconds)}
    return Backlog(frozenset(found - seen), last)


def _describe(store: MetadataStore, run: mlmd.Context) -> LastRun:
    outputs = read_outputs(store, run)
    failed = frozenset(
        node
        for node, execution in outputs.executions.items()
        if execution.last_known_state == mlmd.Execution.FAILED
    )
    return LastRun(run.name, began(run), _ended(outputs, failed), failed)


def _ended(outputs: Outputs, failed: Set[str]) -> Ended:
    if failed:
        return Ended.FAILED
    pusher = outputs.executions.get(PUSHER)
    whole = pusher is not None and pusher.last_known_state == mlmd.Execution.COMPLETE
    return Ended.WHOLE if whole else Ended.NOT_YET


def _names(span: Path) -> set[str]:
    """The photos that a span knows of, used or not; none if the span is gone."""
    if not span.is_dir():
        return set()
    found = set()
    for folder in (span, *spans.find_added_to(span)):
        found |= {row[0] for row in span_photos.read_table(folder)}
        found |= {row[0] for row in span_photos.read_conflicts(folder)}
        rejected = folder / "rejected.csv"
        found |= {row[0] for row in span_photos.read_rows(rejected, ("path", "reason"))}
        if (folder / window.TABLE).exists():
            rows = span_photos.read_rows(folder / window.TABLE, window.COLUMNS)
            found |= {row[0] for row in rows}
    return found
