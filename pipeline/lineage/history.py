"""All runs of a folder: when they began, what they measured, and what became of their models."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.contract import verdict
from data.contract.errors import UserError
from data.contract.labels import CANARY
from data.contract.model import ACCURACY
from pipeline.outputs import PIPELINE_RUN, pushed_version
from pipeline.production.events import Event, as_table

_WHEN = "%Y-%m-%d %H:%M:%S"
_AT_ONCE = 100
"""Executions of which MLMD tells the contexts in one query; it answers for no more."""


@dataclass(frozen=True)
class PastRun:
    """One run, whether it came to its end or not."""

    name: str
    began: datetime
    """With a time zone."""
    span: int | None
    """None if the run is from before spans were recorded."""
    accuracy: float | None
    """On the test photos, in [0, 1]; None if the model was not measured."""
    interval: tuple[float, float] | None
    """95 % interval of the accuracy."""
    verdict: str | None
    """`passed`, or what speaks against the model; None if the run did not come to the gate."""
    version: str | None
    """The version that holds the model; None if it was not pushed."""
    served: bool
    """Whether that version is the one served now: stable, or the newest if none was promoted."""


def began(run: mlmd.Context) -> datetime:
    """When a run began."""
    return datetime.fromtimestamp(run.create_time_since_epoch / 1000, UTC)


def find_run(store: MetadataStore, named: str) -> mlmd.Context:
    """The run that a user means.

    Args:
        store: where the runs are kept.
        named: its name, or when it began, as `history` shows it.

    Raises:
        UserError: there is none, or there are several.
    """
    found = [
        run
        for run in store.get_contexts_by_type(PIPELINE_RUN)
        if named in (run.name, f"{began(run):{_WHEN}}")
    ]
    if len(found) != 1:
        raise UserError(
            f"{named!r} is {'no run' if not found else 'several runs'}: name one by its name, "
            "which `dog-emotion history --json` lists, or by when it began"
        )
    return found[0]


def read_history(store: MetadataStore, served: str | None) -> list[PastRun]:
    """The runs in a metadata store, the oldest first.

    The number of queries grows by one in a hundred runs for each kind of artifact.

    Args:
        store: where they are kept.
        served: the version that is served now, if there is one.
    """
    runs = {context.id: context for context in store.get_contexts_by_type(PIPELINE_RUN)}
    evaluations = made_by_run(store, "ModelEvaluation", runs)
    pushed = made_by_run(store, "PushedModel", runs)
    return [
        _past_run(runs[number], evaluations.get(number), pushed.get(number), served)
        for number in sorted(runs)
    ]


def made_by_run(store: MetadataStore, kind: str, runs: Collection[int]) -> dict[int, mlmd.Artifact]:
    """The artifact of a type that each run has made, or taken from the cache, by the run's id."""
    artifacts = {artifact.id: artifact for artifact in store.get_artifacts_by_type(kind)}
    if not artifacts:
        return {}
    made = {
        event.execution_id: artifacts[event.artifact_id]
        for event in store.get_events_by_artifact_ids(list(artifacts))
        if event.type == mlmd.Event.OUTPUT
    }
    found = {}
    executions = sorted(made)
    for start in range(0, len(executions), _AT_ONCE):
        numbers = ", ".join(map(str, executions[start : start + _AT_ONCE]))
        options = mlmd.LineageSubgraphQueryOptions(max_num_hops=0)
        options.starting_executions.filter_query = f"id IN ({numbers})"
        for pair in store.get_lineage_subgraph(options, ["associations"]).associations:
            if pair.context_id in runs:
                found[pair.context_id] = made[pair.execution_id]
    return found


def _past_run(
    run: mlmd.Context,
    evaluation: mlmd.Artifact | None,
    pushed: mlmd.Artifact | None,
    served: str | None,
) -> PastRun:
    figures = {} if evaluation is None else evaluation.custom_properties
    bounds = (verdict.ACCURACY_LOWER, verdict.ACCURACY_UPPER)
    version = None if pushed is None else pushed_version(pushed)
    return PastRun(
        name=run.name,
        began=began(run),
        span=run.custom_properties["span"].int_value or None,
        accuracy=figures[ACCURACY].double_value if ACCURACY in figures else None,
        interval=(
            (figures[bounds[0]].double_value, figures[bounds[1]].double_value)
            if all(bound in figures for bound in bounds)
            else None
        ),
        verdict=figures[verdict.VERDICT].string_value if verdict.VERDICT in figures else None,
        version=version,
        served=version is not None and version == served,
    )


def as_json(
    runs: Collection[PastRun], events: Sequence[Event], kept: Collection[str]
) -> list[dict[str, Any]]:
    """The same as JSON values, an object for each run, with what its version was in production.

    Args:
        runs: the oldest first.
        events: what has happened in production.
        kept: the versions that are on the disk still.
    """
    canary = _canary(events)
    return [
        {
            "run": run.name,
            "when": run.began.isoformat(timespec="seconds"),
            "span": run.span,
            "accuracy": run.accuracy,
            "interval": run.interval,
            "verdict": run.verdict,
            "pushed": run.version is not None,
            "version": run.version,
            "kept": run.version in kept,
            "served_now": run.served,
            "canary_now": run.version is not None and run.version == canary,
            "production": [
                event.to_json()
                for event in events
                if run.version is not None and event.concerns(int(run.version))
            ],
        }
        for run in runs
    ]


def as_text(runs: Collection[PastRun], events: Sequence[Event], kept: Collection[str]) -> str:
    """The same as a table, a line for each run, and below it one for each change of production.

    Args:
        runs: the oldest first.
        events: what has happened in production.
        kept: the versions that are on the disk still; the others are marked.
    """
    canary = _canary(events)
    lines = [
        _row("began (UTC)", "span", "accuracy", "version", "gate"),
        *(_line(run, canary, kept) for run in runs),
    ]
    if events:
        lines += ["", "in production", *as_table(events)]
    return "\n".join(lines)


def _canary(events: Sequence[Event]) -> str | None:
    """The version that is the canary now."""
    return str(events[-1].after[CANARY]) if events and CANARY in events[-1].after else None


def _line(run: PastRun, canary: str | None, kept: Collection[str]) -> str:
    gone = "" if run.version in kept else " (gone)"
    accuracy = "-" if run.accuracy is None else f"{run.accuracy:.3f}"
    if run.interval is not None:
        low, high = run.interval
        accuracy += f" ({low:.3f} to {high:.3f})"
    return _row(
        f"{run.began:{_WHEN}}",
        "-" if run.span is None else str(run.span),
        accuracy,
        "not pushed" if run.version is None else run.version + gone,
        (run.verdict or "the run did not come to it")
        + (", served now" if run.served else "")
        + (", canary" if run.version is not None and run.version == canary else ""),
    )


def _row(when: str, span: str, accuracy: str, version: str, gate: str) -> str:
    return f"{when:<19}{span:>6}  {accuracy:<24}{version:<19}{gate}"
