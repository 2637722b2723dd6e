"""Where a pushed version came from: photos, corrections, settings, code, weights and figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.evaluation.figures import EVALUATION, Comparison, Evaluation, read_evaluation
from components.report.description import leaves
from data import spans
from data.contract.errors import UserError
from data.contract.features import SPLITS
from data.contract.nodes import EVALUATOR, REPORT, TRAINER
from data.errors import DataError
from pipeline.gate_table import gate_lines
from pipeline.lineage.history import began
from pipeline.outputs import Outputs, read_outputs, run_that_pushed
from pipeline.production.events import Event, as_table
from pipeline.production.production import Production
from pipeline.pushed_models import pushed_models
from pipeline.report.runs import read_description
from pipeline.workdir import Workdir


@dataclass(frozen=True)
class SpanFacts:
    """The span that a version was trained and tested on."""

    number: int
    manifest_sha256: str
    """As the run has found it."""
    now: str
    """What has become of the manifest since: `unchanged`, `changed` or `gone`."""
    photos: Mapping[str, int] | None
    """By split; None unless the manifest is unchanged."""
    relabelled: int
    """Photos whose label, or use, was decided on."""
    relabels_sha256: str
    """Of the table of decisions; empty if there was none."""


@dataclass(frozen=True)
class Origin:
    """Where a version came from."""

    version: str
    folder: Path
    """Where it was pushed to; somebody may have removed it since."""
    served: bool
    """Whether it is the one served now."""
    run: str
    """The name of the first run that has pushed it."""
    began: str
    """When that was, in ISO 8601, UTC."""
    span: SpanFacts | None
    """None if the run is from before spans were recorded."""
    weights: Mapping[str, str]
    """`backbone`, and of the weights that the training began with `source` and `sha256`."""
    evaluation: Evaluation
    baseline: str | None
    """The version that it had to be no worse than; None if nothing was pushed before."""
    settings: Mapping[str, Any] | None
    """None if the run ended before its report."""
    libraries: Mapping[str, str] | None
    """The versions of what made the model; None as for the settings."""
    code: Mapping[str, str]
    """A hash of the code of each node that has one."""
    events: tuple[Event, ...]
    """What it was in production, and what was decided about it, the oldest first."""


def find_origin(workdir: Workdir, store: MetadataStore, version: str, served: str | None) -> Origin:
    """Follows a version back to what it was made of.

    Args:
        workdir: the folder of the run.
        store: the metadata store in it.
        version: a number, as Pusher named it.
        served: the version that is served now, if there is one.

    Raises:
        UserError: no run in the folder has pushed it, or what the run has left is not whole.
    """
    run = run_that_pushed(store, version)
    if run is None:
        raise UserError(
            f"version {version}: no run in {workdir.root} has pushed it; `dog-emotion history` "
            "lists those that were"
        )
    outputs = read_outputs(store, run)
    described = read_description(outputs) if (REPORT, "report") in outputs.artifacts else {}
    model = outputs.artifacts[TRAINER, "model"].custom_properties
    return Origin(
        version=version,
        folder=workdir.serving / version,
        served=version == served,
        run=run.name,
        began=began(run).isoformat(timespec="seconds"),
        span=_span(workdir, run),
        weights={
            "backbone": model["backbone"].string_value,
            "source": model["weights_source"].string_value,
            "sha256": model["weights_sha256"].string_value,
        },
        evaluation=read_evaluation(str(outputs.uri(EVALUATOR, "evaluation"))),
        baseline=_baseline(store, outputs),
        settings=described.get("settings"),
        libraries=described.get("versions"),
        code=outputs.code,
        events=tuple(
            event for event in Production(workdir).history() if event.concerns(int(version))
        ),
    )


def _span(workdir: Workdir, run: mlmd.Context) -> SpanFacts | None:
    said = run.custom_properties
    if "span" not in said:
        return None
    number, sha256 = said["span"].int_value, said["manifest_sha256"].string_value
    folder = workdir.data / f"span-{number}"
    photos = None
    try:
        now = "unchanged" if spans.hash_file(folder / spans.MANIFEST) == sha256 else "changed"
        if now == "unchanged":
            counts = spans.read_manifest(folder)["counts"]
            photos = {split: sum(counts[split].values()) for split in SPLITS}
    except (FileNotFoundError, DataError):
        now = "gone"
    return SpanFacts(
        number=number,
        manifest_sha256=sha256,
        now=now,
        photos=photos,
        relabelled=said["relabelled"].int_value,
        relabels_sha256=said["relabels_sha256"].string_value,
    )


def _baseline(store: MetadataStore, outputs: Outputs) -> str | None:
    """The version that holds the model which the Evaluator took for the last one pushed."""
    model = outputs.artifacts[EVALUATOR, "blessing"].custom_properties["baseline_model_id"]
    if not model.int_value:
        return None
    versions = (version for pushed, version in pushed_models(store) if pushed == model.int_value)
    return next(versions, None)


def as_json(origin: Origin) -> dict[str, Any]:
    """The same as JSON values."""
    evaluation = EVALUATION.dump_python(origin.evaluation, mode="json")
    return {
        "version": origin.version,
        "folder": str(origin.folder),
        "kept": origin.folder.is_dir(),
        "served_now": origin.served,
        "run": origin.run,
        "when": origin.began,
        "span": None if origin.span is None else vars(origin.span),
        "weights": dict(origin.weights),
        "baseline": origin.baseline,
        "figures": {key: value for key, value in evaluation.items() if key not in _GATE},
        "gate": {key: evaluation[key] for key in _GATE},
        "settings": origin.settings,
        "libraries": origin.libraries,
        "code": dict(origin.code),
        "production": [event.to_json() for event in origin.events],
    }


_GATE = ("conditions", "blessed")


def as_text(origin: Origin) -> str:
    """The same as the terminal shows it."""
    evaluation, weights = origin.evaluation, origin.weights
    low, high = evaluation.interval
    unknown = [("not known: the run ended before its report", "")]
    settings = unknown if origin.settings is None else list(leaves(origin.settings))
    libraries = unknown if origin.libraries is None else list(origin.libraries.items())
    return "\n".join(
        [
            f"version   {origin.version}{', served now' if origin.served else ''}",
            f"folder    {origin.folder}{'' if origin.folder.is_dir() else ' (gone)'}",
            f"run       {origin.run}, begun {origin.began}",
            *_span_lines(origin.span),
            f"weights   {weights['backbone']} from {weights['source']} {weights['sha256']}",
            f"accuracy  {evaluation.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f}) on "
            f"{evaluation.photos:,} photos; always the majority class: {evaluation.majority:.3f}",
            f"baseline  {_compared(origin)}",
            *([""] if origin.events else []),
            *as_table(origin.events),
            "",
            *gate_lines(evaluation),
            "",
            "settings",
            *(f"  {name:<40}{value}".rstrip() for name, value in settings),
            "",
            "libraries",
            *(f"  {name:<40}{version}".rstrip() for name, version in libraries),
            "",
            "code",
            *(f"  {node:<22}{sha256}" for node, sha256 in sorted(origin.code.items())),
        ]
    )


def _span_lines(span: SpanFacts | None) -> list[str]:
    if span is None:
        return ["span      not recorded", "relabels  not recorded"]
    return [
        f"span      {span.number}, manifest {span.manifest_sha256} ({span.now})",
        *([] if span.photos is None else [f"photos    {_counted(span.photos)}"]),
        f"relabels  {_relabels(span)}",
    ]


def _counted(photos: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {split}" for split, number in photos.items())


def _relabels(span: SpanFacts) -> str:
    if not span.relabels_sha256:
        return "none"
    return f"{span.relabelled:,} photos, by the table {span.relabels_sha256}"


def _compared(origin: Origin) -> str:
    last = origin.evaluation.last
    if not isinstance(last, Comparison):
        return f"none: {last}"
    return (
        f"version {origin.baseline}, accuracy {last.accuracy:.3f} on the same photos: "
        f"{last.gained:,} gained, {last.lost:,} lost"
    )
