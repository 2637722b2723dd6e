"""What a folder's runs have made of one photo, and what their versions say of it."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ml_metadata import MetadataStore

from components.errors import ComponentError
from data import relabels, span_photos, spans
from data.contract.nodes import ACTIVATION_CACHE, REPORT
from data.errors import DataError
from pipeline.lineage.history import PastRun
from pipeline.outputs import read_outputs, run_that_pushed
from pipeline.report.runs import read_description
from pipeline.workdir import Workdir

NEAREST = 3
"""Training photos shown."""


@dataclass(frozen=True)
class Sighting:
    """The photo as a span holds it."""

    span: int
    filename: str
    label: str
    split: str
    """Empty if it was left out."""
    left_out: str
    """Why; empty if it was not."""
    versions: tuple[str, ...]
    """Those that were made of the span, the oldest first."""


@dataclass(frozen=True)
class Decision:
    """What people have decided about the photo."""

    before: str
    """The label then; empty if that did not matter."""
    to: str
    """The label from then on; empty to leave the photo out."""
    reason: str
    when: str
    """In ISO 8601."""


@dataclass(frozen=True)
class Like:
    """A training photo that is like it."""

    sha256: str
    filename: str
    label: str
    similarity: float
    """Cosine of the angle between the features, at most 1."""


@dataclass(frozen=True)
class Opinion:
    """What a version says of the photo."""

    version: str
    answer: str
    """As people are told it, or why there is none."""
    probabilities: Mapping[str, float] | None
    """By class; None if there is no answer."""


@dataclass(frozen=True)
class PhotoFacts:
    """All that is known of a photo."""

    photo: str
    """As the user named it."""
    sha256: str
    """Of its file."""
    sightings: tuple[Sighting, ...]
    """In the spans that are still there, the oldest first."""
    spans_without_tables: tuple[int, ...]
    """Those that do not say what they hold: damaged, or from before there were tables."""
    decision: Decision | None
    """The one in force, if there is one in the table that the last run read."""
    nearest: tuple[Like, ...] | str
    """Training photos of the version served now, the most similar first; or why there are none."""
    opinions: tuple[Opinion, ...]
    """Of the versions that were asked, the newest first."""


def find_sightings(
    workdir: Workdir, runs: Sequence[PastRun], sha256: str
) -> tuple[list[Sighting], list[int]]:
    """The spans that hold a photo, or have left it out.

    Returns:
        The photo in each of them, and the numbers of the spans that do not say what they hold.
    """
    versions: defaultdict[int | None, list[str]] = defaultdict(list)
    for run in runs:
        if run.version is not None and run.version not in versions[run.span]:
            versions[run.span].append(run.version)
    found, untold = [], []
    for folder in _spans(workdir):
        number = spans.read_number(folder)
        made = tuple(versions[number])
        try:
            rows = list(span_photos.read_table(folder))
            conflicts = list(span_photos.read_conflicts(folder))
        except DataError:
            untold.append(number)
            continue
        for name, label, split, _, _, held in rows:
            if held == sha256:
                found.append(Sighting(number, name, label, split, "", made))
        for name, label, _, reason, held in conflicts:
            if held == sha256:
                found.append(Sighting(number, name, label, "", reason, made))
    return found, untold


def _spans(workdir: Workdir) -> list[Path]:
    """The span folders that are still there, by their numbers."""
    return spans.list_spans(workdir.data) if workdir.data.is_dir() else []


def find_decision(workdir: Workdir, sha256: str) -> Decision | None:
    """What was decided about a photo in the table that the last run read, if that is still there.

    Raises:
        ConfigError, DataError: the folder or the table is damaged.
    """
    config, folders = workdir.stored_config(), _spans(workdir)
    if config is None or not folders:
        return None
    source = Path(spans.read_manifest(folders[-1])["source"])
    named = config.data.relabels
    if named is None and not source.exists():
        return None
    made = relabels.read(Path(named) if named else relabels.default_file(source)).rows.get(sha256)
    if made is None or made.is_undo:
        return None
    return Decision(made.before, made.to, made.reason, made.when.isoformat(timespec="seconds"))


def find_nearest(
    workdir: Workdir, store: MetadataStore, served: str | None, sha256: str, jpeg: bytes
) -> tuple[Like, ...] | str:
    """The training photos of the version served now that are most like a photo, itself apart.

    Args:
        workdir: the folder of the run.
        store: the metadata store in it.
        served: the version that is served now, if there is one.
        sha256: of the photo's file.
        jpeg: the photo as the records would hold it.

    Returns:
        Up to `NEAREST`, the most similar first; or why there are none.
    """
    # TensorFlow takes seconds.
    from components.model.settings import ModelSettings
    from components.report.cached_features import features_as_cached, training_features
    from components.report.neighbours import nearest
    from components.training.cache.format import folder_of

    run = None if served is None else run_that_pushed(store, served)
    if run is None:
        return "no run in this folder has made the version served now"
    outputs = read_outputs(store, run)
    if (REPORT, "report") not in outputs.artifacts:
        return "the run that made the version served now ended before its report"
    if (ACTIVATION_CACHE, "activations") not in outputs.artifacts:
        return "training.augmentation.mode was on_the_fly, and no features were kept"
    settings = json.dumps(read_description(outputs)["settings"]["model"])
    backbones = ModelSettings.model_validate_json(settings).backbones
    # An ensemble's first member speaks for all.
    cache = folder_of(str(outputs.uri(ACTIVATION_CACHE, "activations")), backbones[0], backbones)
    try:
        (found,) = nearest(
            features_as_cached(cache, [jpeg]),
            training_features(cache),
            number=NEAREST + 1,
            of_class=[None],
        )
    except ComponentError as error:
        return str(error)
    span = workdir.data / f"span-{run.custom_properties['span'].int_value}"
    try:
        rows = list(span_photos.read_table(span))
    except DataError:
        return "the span of the version served now does not say what it holds"
    held = {row[5]: (row[0], row[1]) for row in rows}
    return tuple(
        Like(each.sha256, *held.get(each.sha256, ("", "")), each.similarity)
        for each in found
        if each.sha256 != sha256
    )[:NEAREST]


def as_json(facts: PhotoFacts) -> dict[str, Any]:
    """The same as JSON values; `nearest` is null where `no_nearest` says why."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(facts)))
    found["no_nearest"] = facts.nearest if isinstance(facts.nearest, str) else ""
    if isinstance(facts.nearest, str):
        found["nearest"] = None
    return found


def as_text(facts: PhotoFacts) -> str:
    """The same as the terminal shows it."""
    lines = [f"photo     {facts.photo}, SHA-256 {facts.sha256}"]
    lines += [_sighting(each) for each in facts.sightings]
    lines += [
        f"span {number}".ljust(10) + "does not say what it holds"
        for number in facts.spans_without_tables
    ]
    if not facts.sightings:
        lines.append("spans     none that is still there is known to hold this file")
    lines.append(f"decided   {_decision(facts.decision)}")
    if isinstance(facts.nearest, str):
        lines.append(f"nearest   none: {facts.nearest}")
    else:
        lines += [
            f"nearest   {each.similarity:.3f}  {each.filename or each.sha256}, {each.label}"
            for each in facts.nearest
        ]
    lines += [_opinion(each) for each in facts.opinions]
    if not facts.opinions:
        lines.append("versions  none was kept")
    # A name may contain line breaks and terminal commands: neither reaches the terminal.
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def _sighting(each: Sighting) -> str:
    said = f"span {each.span}".ljust(10) + f"{each.filename}, labelled {each.label}"
    if each.left_out:
        return f"{said}: left out, {each.left_out}"
    versions = ", ".join(each.versions) or "no version"
    return f"{said}, {each.split} photo of {versions}"


def _decision(made: Decision | None) -> str:
    if made is None:
        return "no decision about it was found"
    before = f"{made.before}: " if made.before else ""
    reason = f" ({made.reason})" if made.reason else ""
    return f"{before}{made.to or 'left out'}{reason}, {made.when}"


def _opinion(each: Opinion) -> str:
    if each.probabilities is None:
        return f"version   {each.version}: no answer: {each.answer}"
    shares = ", ".join(f"{name} {share:.1%}" for name, share in each.probabilities.items())
    return f"version   {each.version}: {each.answer} ({shares})"
