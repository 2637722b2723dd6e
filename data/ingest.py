"""A folder of labelled photos to checked, split TFRecord shards."""

import csv
import hashlib
import importlib.metadata
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

from data import audit, photo_hashes, span_photos, spans, window
from data.audit import Counts, Fact
from data.contract.errors import UsageError
from data.contract.features import SPLITS
from data.contract.progress import Tell
from data.errors import DataError
from data.folder import LabelledPhoto, list_photos, require_apart, show
from data.held_photos import find_held
from data.relabels import Relabel, decide, describe_unheeded, drop_outdated, read_decisions

# Left to itself, Beam's DirectRunner first tries Prism, a binary that it wants to download. This is
# the runner that it falls back to, in this process.
BEAM_OPTIONS = ("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",)
PHOTOS_PER_SHARD = 2_000
RECORD_MODULES = (
    "audit.py",
    "contract/features.py",
    "contract/images.py",
    "held_photos.py",
    "ingest.py",
    "near_duplicates.py",
    "perceptual_hash.py",
    "photos.py",
    "records.py",
    "relabels.py",
    "shards.py",
    "span_photos.py",
    "splits.py",
    "survey.py",
)
"""The code that decides what is in a record and in which file."""
TOOLS = (
    "apache-beam",
    "faiss-cpu",
    "numpy",
    "opencv-python-headless",
    "pdqhash",
    "pillow",
    "scipy",
    "tensorflow",
)


@dataclass(frozen=True)
class Alike:
    """How near-duplicates were found, and how many."""

    radius: int
    """Bits, of 256."""
    expected_false: float | None
    """How many pairs of unlike photos are expected within it; None if that cannot be measured."""
    photos: int
    """Those that are near-duplicates of another, or copies."""
    groups: int
    """What they amount to."""
    featureless: int
    """Photos with too little in them to be compared, of which exact copies alone are told."""


@dataclass(frozen=True)
class IngestResult:
    """Where the records are, and what is in them."""

    span_dir: Path
    classes: tuple[str, ...]
    counts: Counts
    rejected: int
    conflicts: int
    relabelled: int
    """Photos that are labelled, or left out, as someone has decided."""
    unheeded: tuple[str, ...]
    """Decisions that change nothing any more, and why."""
    held_otherwise: int
    """Photos that earlier spans hold otherwise than someone has decided."""
    earlier: int
    """Photos that earlier spans hold already."""
    only_new: bool
    """Whether the span adds to those before it, and holds nothing that they hold."""
    older: int
    """Photos that came before the window, and are left out."""
    alike: Alike
    cached: bool
    """The newest span already held these photos; nothing was written."""
    remarks: tuple[str, ...] = ()
    """What earlier spans should have given and did not, a line each."""

    @property
    def span(self) -> int:
        """The number of the span."""
        return spans.read_number(self.span_dir)


def ingest(
    source: Path,
    out: Path,
    *,
    span: int | None = None,
    last_spans: int | None = None,
    decisions: Path | None = None,
    max_reject_share: float = 0.2,
    settled_seconds: float = 0,
    progress: Tell = lambda done, total: None,
    beam_options: Sequence[str] = BEAM_OPTIONS,
) -> IngestResult:
    """Write the photos of `source` as the next span in `out`, unless the newest holds them.

    A span holds `{train,val,test}-NNNNN-of-NNNNN.tfrecord.gz`, `manifest.json`, `photos.csv` (which
    photo is in which split), `rejected.csv` (files that are not usable photos) and `conflicts.csv`
    (photos whose label or split cannot be right, used nowhere). It appears by one rename, complete
    or not at all.

    Args:
        source: class folders, or a CSV table of path,label.
        out: the folder of spans.
        span: the number of a span for only what no earlier one holds; by default the next span
            holds all of the source.
        last_spans: leave out all photos but those that came with the last so many spans that
            brought any, the one to be written among them.
        decisions: what people have decided about labels; by default `relabels.csv` of the source.
        max_reject_share: the largest share of files that may be no usable photo.
        settled_seconds: photos that have changed since are left for later.
        progress: is told how many photos of how many are prepared.
        beam_options: of a runner whose workers see both folders.

    Raises:
        DataError: the photos cannot be used, or `out` cannot be written.
        UsageError: `span` and `last_spans` are both set.
    """
    if span and last_spans:
        raise UsageError(
            f"span {span} with only what is new, and a window over the last {last_spans} spans: "
            "leave one of them out"
        )
    require_apart(out, source)
    photos = list_photos(source, settled_seconds)
    made = read_decisions(source, decisions)
    try:
        with spans.claim(out) as unfinished:
            (out / "rejected.csv").unlink(missing_ok=True)  # of a run that failed
            hashes = out / photo_hashes.FILE
            identities = [photo_hashes.identify(photo) for photo in photos]  # before any is read
            newest = spans.find_newest(out)
            kept = photo_hashes.load(hashes)
            every = [
                photo_hashes.find(photo, identity, kept) if newest else _unread(photo)
                for photo, identity in zip(photos, identities, strict=True)
            ]
            first_seen = window.read_first_seen(spans.list_spans(out)) if last_spans else {}
            coming = spans.next_number(out)
            within = (
                window.find_within(photos, every, first_seen, coming, last_spans)
                if last_spans
                else [True] * len(photos)
            )
            older = within.count(False)
            task = _Task(
                list(compress(photos, within)), made.rows, out, unfinished, span, max_reject_share
            )
            facts = list(compress(every, within))
            if newest and span in (None, spans.read_number(newest)):
                manifest = spans.read_manifest(newest)
                if manifest["input"] == task.fingerprint(facts):
                    spans.check_shards(newest, manifest["shards"])
                    photo_hashes.store(hashes, identities, every, unfinished)
                    unheeded = task.unheeded(facts, manifest)
                    return _to_result(newest, manifest, unheeded, older=older, cached=True)
            spans.require_next(out, span)
            found, manifest, remarks = _write_span(task, facts, progress, beam_options)
            inside = iter(found)
            every = [next(inside) if yes else fact for yes, fact in zip(within, every, strict=True)]
            if last_spans:
                window.write_first_seen(task.folder, every, first_seen, coming)
            manifest = {
                "input": task.fingerprint(found),
                "code": _code_version(),
                "source": show(source),
                "relabels_sha256": made.sha256,
                **manifest,
            }
            spans.write_manifest(task.folder, manifest)
            photo_hashes.store(hashes, identities, every, unfinished)
            unheeded = task.unheeded(found, manifest)
            written = spans.commit(task.folder, out)
            return _to_result(
                written, manifest, unheeded, older=older, cached=False, remarks=tuple(remarks)
            )
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error.strerror or error}") from error


@dataclass(frozen=True)
class _Task:
    """A span to be written."""

    photos: Sequence[LabelledPhoto]
    decisions: Mapping[str, Relabel]
    out: Path
    unfinished: Path
    number: int | None
    max_reject_share: float

    @property
    def folder(self) -> Path:
        """Where the span is made."""
        return self.unfinished / "span"

    def labels(self, facts: Sequence[Fact]) -> list[str]:
        """The label of each photo as decided, empty for one that is left out."""
        labelled = [
            (fact.sha256, photo.label) for photo, fact in zip(self.photos, facts, strict=True)
        ]
        current = drop_outdated(self.decisions, labelled)
        return [decide(current, sha256, label) for sha256, label in labelled]

    def unheeded(self, facts: Sequence[Fact], manifest: Mapping[str, Any]) -> tuple[str, ...]:
        """The decisions that change nothing any more, and why."""
        plain = [
            replace(fact, label=photo.label) for photo, fact in zip(self.photos, facts, strict=True)
        ]
        classes = {*manifest["classes"], *(photo.label for photo in self.photos)}
        return tuple(describe_unheeded(plain, self.decisions, classes))

    def fingerprint(self, facts: Sequence[Fact]) -> str:
        """SHA-256 of everything that decides the content of the span."""
        settings = [_code_version(), self.max_reject_share, self.number]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for fact, label in zip(facts, self.labels(facts), strict=True):
            content = fact.sha256 or fact.reason
            digest.update(json.dumps([fact.name, label, content]).encode())
        return digest.hexdigest()


def _unread(photo: LabelledPhoto) -> Fact:
    return Fact(photo.name, photo.label, jpeg="")


def _code_version() -> str:
    """Stands for the code and the libraries that decide what is in a record: hexadecimal."""
    digest = hashlib.sha256(json.dumps(_find_versions()).encode())
    folder = Path(__file__).parent
    for module in RECORD_MODULES:
        digest.update((folder / module).read_bytes())
    return digest.hexdigest()


def _write_span(
    task: _Task, hashed: Sequence[Fact], progress: Tell, beam_options: Sequence[str]
) -> tuple[Sequence[Fact], dict[str, Any], list[str]]:
    """Fill the span with all but the manifest.

    Args:
        task: the span.
        hashed: the hashes of the photos, as far as they are known.
        progress: is told how many photos of how many are prepared.
        beam_options: as in `ingest`.

    Returns:
        The facts, the manifest, and a line about each earlier span that was of no use.
    """
    # TensorFlow and Beam take seconds, and a cached run needs neither.
    from data import shards
    from data.survey import survey

    prepared = task.unfinished / "prepared"
    prepared.mkdir()
    task.folder.mkdir()
    before = spans.list_spans(task.out)
    earlier = span_photos.read(before) if task.number else span_photos.NO_PHOTOS
    splits, not_kept = span_photos.read_splits(before)
    held, not_taken = find_held(
        task.photos, [fact.sha256 for fact in hashed], before, _code_version()
    )
    found = survey(
        task.photos,
        prepared,
        relabels=task.decisions,
        splits=splits,
        earlier=earlier,
        held=held,
        progress=progress,
        beam_options=beam_options,
    )
    facts = found.facts
    used = [fact for fact in facts if fact.is_used]
    rejected = [fact for fact in facts if fact.reason]
    conflicts = [fact for fact in facts if fact.conflict]
    counts = audit.count_photos(used)
    _write_table(
        task.folder / "rejected.csv", ("path", "reason"), ((f.name, f.reason) for f in rejected)
    )
    _write_table(
        task.folder / span_photos.CONFLICTS,
        span_photos.CONFLICT_COLUMNS,
        ((fact.name, fact.label, fact.group, fact.conflict, fact.sha256) for fact in conflicts),
    )
    classes = {*earlier.labels, *(photo.label for photo in task.photos)}
    try:
        audit.check_rejects(facts, task.max_reject_share)
        if earlier.names:
            audit.check_new(used, set(earlier.labels))
        else:
            audit.check_classes(sorted(classes), counts)
    except DataError as error:
        if not rejected:
            raise
        table = (task.folder / "rejected.csv").replace(task.out / "rejected.csv")
        raise DataError(f"{error}; the rejected files are listed in {table}") from None

    span_photos.write(task.folder, used, found.hashes[[fact.is_used for fact in facts]])
    planned = _plan_shards(used)
    shards.write_shards(
        [shards.Shard(str(task.folder / name), facts) for name, facts in planned.items()],
        beam_options,
    )
    groups = Counter(fact.group for fact in facts if not fact.reason)
    alike = [size for size in groups.values() if size > 1]
    relabelled, held_otherwise = _count_decided(task, facts, earlier)
    featureless = sum(
        not (fact.reason or row.any()) for fact, row in zip(facts, found.hashes, strict=True)
    )
    manifest = {
        "classes": sorted({fact.label for fact in used}),
        "counts": counts,
        "rejected": len(rejected),
        "conflicts": len(conflicts),
        "only_new": task.number is not None,
        "earlier": sum(fact.span > 0 for fact in facts),
        "relabelled": relabelled,
        "held_otherwise": held_otherwise,
        "alike": asdict(
            Alike(
                found.radius.bits, found.radius.expected_false, sum(alike), len(alike), featureless
            )
        ),
        "shards": {
            name: {"records": len(facts), "sha256": spans.hash_file(task.folder / name)}
            for name, facts in planned.items()
        },
        "settings": {"max_reject_share": task.max_reject_share, "shares": audit.SHARES},
        "versions": _find_versions(),
    }
    return facts, manifest, not_kept + not_taken


def _count_decided(
    task: _Task, facts: Sequence[Fact], earlier: span_photos.SpanPhotos
) -> tuple[int, int]:
    """How many photos the span treats as decided, and how many earlier spans treat otherwise."""
    held_as = dict(zip(earlier.pixels, earlier.labels, strict=True))
    relabelled = held_otherwise = 0
    for photo, fact, label in zip(task.photos, facts, task.labels(facts), strict=True):
        if fact.span:
            held_otherwise += fact.sha256 in task.decisions and label != held_as[fact.pixels]
        elif not fact.reason:
            relabelled += label != photo.label
    return relabelled, held_otherwise


def _plan_shards(facts: Iterable[Fact]) -> dict[str, tuple[Fact, ...]]:
    """The shards' names and photos, in the order of the hashes, which is well mixed and fixed."""
    facts = sorted(facts, key=lambda fact: (fact.pixels, fact.name))
    planned = {}
    for split in SPLITS:
        members = [fact for fact in facts if fact.split == split]
        total = max(1, math.ceil(len(members) / PHOTOS_PER_SHARD))
        for index in range(total):
            name = f"{split}-{index:05d}-of-{total:05d}.tfrecord.gz"
            planned[name] = tuple(members[index::total])
    return planned


def _find_versions() -> dict[str, str]:
    return {tool: importlib.metadata.version(tool) for tool in TOOLS}


def _write_table(file: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(columns)
        writer.writerows(rows)


def _to_result(
    span: Path,
    manifest: dict[str, Any],
    unheeded: tuple[str, ...],
    *,
    older: int,
    cached: bool,
    remarks: tuple[str, ...] = (),
) -> IngestResult:
    return IngestResult(
        span_dir=span,
        classes=tuple(manifest["classes"]),
        counts=manifest["counts"],
        rejected=manifest["rejected"],
        conflicts=manifest["conflicts"],
        relabelled=manifest["relabelled"],
        unheeded=unheeded,
        held_otherwise=manifest["held_otherwise"],
        earlier=manifest["earlier"],
        only_new=manifest["only_new"],
        older=older,
        alike=Alike(**manifest["alike"]),
        cached=cached,
        remarks=remarks,
    )
