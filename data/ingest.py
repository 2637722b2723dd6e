"""A folder of labelled photos to checked, split TFRecord shards."""

import csv
import hashlib
import importlib.metadata
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data import audit, photo_hashes, spans
from data.audit import Counts, Fact
from data.contract.features import SPLITS
from data.contract.progress import Tell
from data.errors import DataError
from data.folder import LabelledPhoto, list_photos, require_apart, show

# Left to itself Beam's DirectRunner first tries Prism, a binary it wants to download. This is the
# runner it falls back to, in this process.
BEAM_OPTIONS = ("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",)
PHOTOS_PER_SHARD = 2_000
RECORD_MODULES = (
    "audit.py",
    "contract/features.py",
    "contract/images.py",
    "ingest.py",
    "photos.py",
    "shards.py",
)
"""The code that decides what is in a record and in which file."""
TOOLS = ("apache-beam", "numpy", "opencv-python-headless", "pillow", "tensorflow")


@dataclass(frozen=True)
class IngestResult:
    """Where the records are, and what is in them."""

    span_dir: Path
    classes: tuple[str, ...]
    counts: Counts
    rejected: int
    conflicts: int
    cached: bool
    """The newest span already held these photos; nothing was written."""

    @property
    def span(self) -> int:
        """The number of the span."""
        return spans.read_number(self.span_dir)


def ingest(
    source: Path,
    out: Path,
    *,
    max_reject_share: float = 0.2,
    progress: Tell = lambda done, total: None,
    beam_options: Sequence[str] = BEAM_OPTIONS,
) -> IngestResult:
    """Write the photos of `source` as the next span in `out`, unless the newest holds them.

    A span holds `{train,val,test}-NNNNN-of-NNNNN.tfrecord.gz`, `manifest.json`, `rejected.csv`
    (files that are no usable photo) and `conflicts.csv` (copies with different labels, used
    nowhere). It appears by one rename, complete or not at all.

    Args:
        source: class folders, or a CSV table of path,label.
        out: the folder of spans.
        max_reject_share: the largest share of files that may be no usable photo.
        progress: is told how many photos of how many are prepared.
        beam_options: of a runner whose workers see both folders.

    Raises:
        DataError: the photos cannot be used, or `out` cannot be written.
    """
    require_apart(out, source)
    photos = list_photos(source)
    try:
        with spans.claim(out) as unfinished:
            hashes = out / photo_hashes.FILE
            identities = [photo_hashes.identify(photo) for photo in photos]  # before one is read
            newest = spans.find_newest(out)
            if newest:
                manifest = spans.read_manifest(newest)
                kept = photo_hashes.load(hashes)
                facts = [
                    photo_hashes.find(photo, identity, kept)
                    for photo, identity in zip(photos, identities, strict=True)
                ]
                if manifest["input"] == _fingerprint(facts, max_reject_share):
                    spans.check_shards(newest, manifest["shards"])
                    photo_hashes.store(hashes, identities, facts, unfinished)
                    return _to_result(newest, manifest, cached=True)
            facts, manifest = _write_span(
                photos, unfinished, out, max_reject_share, progress, beam_options
            )
            fingerprint = _fingerprint(facts, max_reject_share)
            manifest = {"input": fingerprint, "source": show(source), **manifest}
            span = unfinished / "span"
            spans.write_manifest(span, manifest)
            photo_hashes.store(hashes, identities, facts, unfinished)
            return _to_result(spans.commit(span, out), manifest, cached=False)
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error.strerror or error}") from error


def _write_span(
    photos: Sequence[LabelledPhoto],
    unfinished: Path,
    out: Path,
    max_reject_share: float,
    progress: Tell,
    beam_options: Sequence[str],
) -> tuple[list[Fact], dict[str, Any]]:
    """Fill `unfinished/span` with everything but the manifest; return the facts and that."""
    from data import shards  # TensorFlow and Beam take seconds, and a cached run needs neither

    prepared, span = unfinished / "prepared", unfinished / "span"
    prepared.mkdir()
    span.mkdir()
    (out / "rejected.csv").unlink(missing_ok=True)  # of a run that failed
    facts = shards.prepare_photos(photos, prepared, progress, beam_options)

    rejected = [fact for fact in facts if fact.reason]
    conflicts = audit.find_conflicts(facts)
    left_out = {*rejected, *conflicts}
    used = [fact for fact in facts if fact not in left_out]
    counts = audit.count_photos(used)
    _write_table(span / "rejected.csv", ("path", "reason"), ((f.name, f.reason) for f in rejected))
    _write_table(
        span / "conflicts.csv",
        ("path", "label", "group"),
        ((fact.name, fact.label, fact.group) for fact in conflicts),
    )
    try:
        audit.check_rejects(facts, max_reject_share)
        audit.check_classes(sorted({photo.label for photo in photos}), counts)
    except DataError as error:
        if not rejected:
            raise
        table = (span / "rejected.csv").replace(out / "rejected.csv")
        raise DataError(f"{error}; the rejected files are listed in {table}") from None

    planned = _plan_shards(used)
    shards.write_shards(
        [shards.Shard(str(span / name), facts) for name, facts in planned.items()], beam_options
    )
    return facts, {
        "classes": sorted({fact.label for fact in used}),
        "counts": counts,
        "rejected": len(rejected),
        "conflicts": len(conflicts),
        "shards": {
            name: {"records": len(facts), "sha256": spans.hash_file(span / name)}
            for name, facts in planned.items()
        },
        "settings": {"max_reject_share": max_reject_share, "shares": audit.SHARES},
        "versions": _find_versions(),
    }


def _plan_shards(facts: Iterable[Fact]) -> dict[str, tuple[Fact, ...]]:
    """Names of the shards and their photos, in the order of the hashes: well mixed and fixed."""
    facts = sorted(facts, key=lambda fact: (fact.group, fact.name))
    planned = {}
    for split in SPLITS:
        members = [fact for fact in facts if audit.choose_split(fact.group) == split]
        total = max(1, math.ceil(len(members) / PHOTOS_PER_SHARD))
        for index in range(total):
            name = f"{split}-{index:05d}-of-{total:05d}.tfrecord.gz"
            planned[name] = tuple(members[index::total])
    return planned


def _fingerprint(facts: Iterable[Fact], max_reject_share: float) -> str:
    """SHA-256 over all that decides the content of a span."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for module in RECORD_MODULES:
        digest.update((folder / module).read_bytes())
    digest.update(json.dumps([_find_versions(), max_reject_share]).encode())
    for fact in facts:
        content = fact.sha256 or fact.reason
        digest.update(json.dumps([fact.name, fact.label, content]).encode())
    return digest.hexdigest()


def _find_versions() -> dict[str, str]:
    return {tool: importlib.metadata.version(tool) for tool in TOOLS}


def _write_table(file: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(columns)
        writer.writerows(rows)


def _to_result(span: Path, manifest: dict[str, Any], *, cached: bool) -> IngestResult:
    return IngestResult(
        span_dir=span,
        classes=tuple(manifest["classes"]),
        counts=manifest["counts"],
        rejected=manifest["rejected"],
        conflicts=manifest["conflicts"],
        cached=cached,
    )
