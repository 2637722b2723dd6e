"""What the terminal shows during a run, and where the libraries' chatter goes instead."""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from data.ingest import IngestResult
from pipeline.live_line import LiveLine
from pipeline.memory import PeakMemory

NAMED = 3
"""Photos that a line names before it counts the rest."""


@dataclass
class NodeTimes(logging.Handler):
    """Says which node runs, and times it, from the messages of LocalDagRunner.

    The runner has no hooks; its log messages are all it offers.

    Attributes:
        total: how many nodes there are.
        line: shows the node while it runs, if there is one.
        wall: seconds of each node, by node id.
        cpu: seconds of this process's processor time during each node.
        memory: MB (10^6 bytes) that this process held at its peak during each node; None where
            that cannot be known.
    """

    total: int
    line: LiveLine | None = None
    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(logging.INFO)
        self._peak: PeakMemory | None = None

    def __hash__(self) -> int:
        return id(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "Component %s is running.":
            (node,) = record.args or ()
            head = f"[{len(self.wall) + 1:2}/{self.total}] {node}"
            if self.line:
                self.line.begin(head)
            else:
                print(head, flush=True)
            self._started = time.monotonic(), time.process_time()
            self._peak = PeakMemory()
        elif record.msg == "Component %s is finished.":
            (node,) = record.args or ()
            if self.line:
                self.line.end()
            wall, cpu = self._started
            self.wall[str(node)] = time.monotonic() - wall
            self.cpu[str(node)] = time.process_time() - cpu
            self.memory[str(node)] = self._peak.stop() if self._peak else None
            self._peak = None

    def close(self) -> None:
        """Stops looking at the memory, if a node has failed."""
        if self._peak:
            self._peak.stop()
        super().close()


@contextmanager
def chatter_to(log: Path) -> Iterator[None]:
    """Sends standard error to a file, so that the terminal shows what a user wants to know.

    The file descriptor is redirected because TensorFlow's C++ code writes there directly.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with log.open("wb", buffering=0) as handle:
        os.dup2(handle.fileno(), 2)
        try:
            yield
        finally:
            try:
                sys.stderr.flush()
            except OSError:  # A full disk: what it did not take must not appear on the terminal.
                with Path(os.devnull).open("wb") as nothing:
                    os.dup2(nothing.fileno(), 2)
                    sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def describe_records(ingested: IngestResult) -> str:
    """One line on what ingestion found and where its records are."""
    splits = (f"{sum(counts.values()):,} {split}" for split, counts in ingested.counts.items())
    left_out = [f"{ingested.rejected:,} rejected", f"{ingested.conflicts:,} in conflict left out"]
    if ingested.relabelled:
        left_out.append(f"{ingested.relabelled:,} relabelled")
    if ingested.earlier:
        left_out.append(f"{ingested.earlier:,} in earlier spans")
    if ingested.older:
        left_out.append(f"{ingested.older:,} from before the window")
    if ingested.cached:
        left_out.append("unchanged")
    return f"{', '.join(splits)}; {', '.join(left_out)}: {ingested.span_dir}"


def describe_remarks(ingested: IngestResult) -> list[str]:
    """What else is to be known of a span, a line each."""
    remarks = list(ingested.remarks)
    if unheeded := ingested.unheeded:
        more = f", and {len(unheeded) - NAMED:,} more" if len(unheeded) > NAMED else ""
        remarks.append(
            f"{len(unheeded):,} decisions no longer fit their photos; to change that, decide again "
            f"in `review`: {', '.join(unheeded[:NAMED])}{more}"
        )
    if ingested.held_otherwise:
        remarks.append(
            f"{ingested.held_otherwise:,} decisions are not honoured here: they are about photos "
            "of earlier spans, which stay as they are; without --span, a span of all photos "
            "honours them"
        )
    if ingested.only_new and ingested.span > 1:
        remarks.append(
            f"span-{ingested.span} holds only what is new, and a compiled pipeline trains on the "
            "newest span alone; without --span, a span holds all photos"
        )
    return remarks


def describe_alike(ingested: IngestResult) -> str:
    """One line on the near-duplicates, and how sure they are."""
    alike = ingested.alike
    chance = (
        "the photos are too few, too many or too much alike to say how many pairs are false"
        if alike.expected_false is None
        else f"{alike.expected_false:.2f} false pairs expected"
    )
    plain = f"; {alike.featureless:,} too plain to compare" if alike.featureless else ""
    return (
        f"{alike.photos:,} photos are copies of each other, exactly or nearly: {alike.groups:,} "
        f"pictures (up to {alike.radius} of 256 bits differ; {chance}{plain})"
    )
