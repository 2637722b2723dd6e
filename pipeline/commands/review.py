"""`review`: the most doubtful labels first, for a person to decide about."""

import argparse
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError
from pipeline.commands.common import (
    add_command,
    add_photos_with_workdir,
    number,
    photos_workdir,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from data.folder import LabelledPhoto
    from data.ingest import IngestResult
    from pipeline.commands.common import Commands
    from pipeline.config import Config
    from pipeline.review.decisions import Decisions, Tally
    from pipeline.review.doubts import Doubts
    from pipeline.review.photos import Backbone, Photo
    from pipeline.workdir import Workdir

PORT = 8502


def add_review(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "review",
        help="the most doubtful labels first, for you to decide about",
        description="Opens a page on this machine that shows the photos whose labels fit least to "
        "those of similar photos, and takes what you decide: one key a photo. Each decision is a "
        "row in a table that `run` and `data` honour; no photo of PHOTOS is moved or deleted. "
        "Ctrl-C ends it.",
    )
    add_photos_with_workdir(parser, "the folder of the runs on these photos")
    parser.add_argument(
        "--relabels",
        type=Path,
        metavar="FILE",
        help="the table of decisions (default: relabels.csv in PHOTOS or, if that is a CSV file, "
        "beside it)",
    )
    parser.add_argument(
        "--feedback",
        type=Path,
        metavar="FOLDER",
        help="that of `serve --feedback`: its photos come first, each as someone has labelled it; "
        "what you accept goes to its class in PHOTOS, what you leave out is deleted",
    )
    parser.add_argument(
        "--port",
        type=number(0, 65535),
        default=PORT,
        metavar="N",
        help="port to listen on (default: %(default)s); 0 takes any free one",
    )
    parser.set_defaults(command=_review)


def _review(options: argparse.Namespace) -> int:
    from data.folder import list_photos
    from pipeline.config import Config

    workdir = photos_workdir(options)
    stored = workdir.stored_config()
    table = _table(options, stored)
    if options.feedback is not None:
        _require_class_folders(options)
    print(f"workdir   {workdir.root}", flush=True)
    with workdir.locked():
        feedback = _read_feedback(options, table)
        ingested = _ingest(options.photos, workdir, stored or Config(), table)
        found = (*list_photos(options.photos), *feedback.values())
        listed = {photo.name: photo for photo in found}
        doubts = _rank(ingested.span_dir, listed, feedback, workdir, stored)

    from pipeline.review.decisions import Decisions
    from pipeline.review.server import ReviewServer, photo_reader

    at_first = [listed[photo.name].label for photo in doubts.photos]
    decisions = Decisions(table, doubts.photos, at_first)
    reader = photo_reader(listed, doubts.photos)
    server = ReviewServer(doubts, decisions, reader, options.port, _announce)
    print(f"relabels  {table}: {_describe_table(decisions)}")
    with suppress(KeyboardInterrupt):  # which is how it ends
        server.run()
    print(f"\ndecided   {_describe_tally(decisions.tally())}: {table}")
    _read_feedback(options, table)
    print(f"next      {_next_command(options, table)}")
    return Exit.DONE


def _table(options: argparse.Namespace, stored: "Config | None") -> Path:
    """The table of decisions, which can be written.

    Raises:
        UsageError: it cannot; minutes would be spent on what could not be kept.
    """
    from data.relabels import default_file

    table: Path = (
        options.relabels or (stored and stored.data.relabels) or default_file(options.photos)
    )
    if not os.access(table if table.exists() else table.parent, os.W_OK):
        raise UsageError(f"{table} cannot be written: name another file with --relabels FILE")
    return table


def _ingest(photos: Path, workdir: "Workdir", config: "Config", table: Path) -> "IngestResult":
    from data.contract.progress import tenths
    from data.ingest import ingest
    from pipeline.beam_args import beam_args, prepared_workers
    from pipeline.progress import chatter_to, describe_records, describe_remarks

    with chatter_to(Path(os.devnull)), prepared_workers(config.beam):
        ingested = ingest(
            photos,
            workdir.data,
            last_spans=config.data.window,
            decisions=table if table.exists() else None,
            max_reject_share=config.data.max_reject_share,
            progress=tenths("photos    read"),
            beam_options=beam_args(config.beam, root=str(workdir.root)),
        )
    print(f"records   {describe_records(ingested)}", flush=True)
    for remark in describe_remarks(ingested):
        print(f"records   {remark}", flush=True)
    return ingested


def _announce(url: str) -> None:
    print(f"review    {url}   (Ctrl-C when you have done enough)", flush=True)


def _require_class_folders(options: argparse.Namespace) -> None:
    from data.folder import require_apart

    if not options.photos.is_dir():
        raise UsageError(f"--feedback needs PHOTOS with a folder for each class: {options.photos}")
    require_apart(options.feedback, options.photos)


def _read_feedback(options: argparse.Namespace, table: Path) -> "dict[Photo, LabelledPhoto]":
    """The feedback that nobody has decided about; what has been decided on is taken out first."""
    from functools import partial

    from data.feedback import read_feedback, settle
    from data.folder import list_photos
    from data.relabels import read
    from pipeline.review.candidates import as_photos, decided

    if options.feedback is None:
        return {}
    classes = {photo.label for photo in list_photos(options.photos)}
    feedback, remarks = read_feedback(options.feedback)
    decide = partial(decided, read(table).rows, classes)
    settled = settle(options.feedback, options.photos, feedback, decide)
    waiting = [each for each in feedback if decide(each.sha256) is None]
    strange = [each for each in waiting if each.correction not in classes]
    remarks += [
        f"{options.feedback / each.photo} is left aside: {each.correction} is no class of PHOTOS"
        for each in strange
    ]
    for remark in remarks:
        print(f"feedback  {remark}")
    print(
        f"feedback  {options.feedback}: {settled.taken:,} taken into {options.photos}, "
        f"{settled.left_out:,} left out, {len(waiting) - len(strange):,} to decide about",
        flush=True,
    )
    return as_photos([each for each in waiting if each not in strange], options.feedback)


def _rank(
    span: Path,
    listed: "Mapping[str, LabelledPhoto]",
    feedback: "Collection[Photo]",
    workdir: "Workdir",
    stored: "Config | None",
) -> "Doubts":
    from data.contract.progress import tenths
    from pipeline.progress import chatter_to
    from pipeline.review.doubts import Doubts
    from pipeline.review.photos import features_of, read_photos
    from pipeline.review.server import photo_reader

    with chatter_to(Path(os.devnull)):
        backbone = _backbone(workdir, stored)
        photos = read_photos(span)
        known = {photo.sha256 for photo in photos}
        new = [photo for photo in feedback if photo.sha256 not in known]
        if len(new) < len(feedback):
            print(f"feedback  {len(feedback) - len(new):,} are among the photos already")
        photos += new
        read = photo_reader(listed, photos)
        features = features_of(photos, span, read, workdir.review, backbone, tenths("features  of"))
        return Doubts.of(photos, features)


def _backbone(workdir: "Workdir", stored: "Config | None") -> "Backbone":
    """That of the folder's last run or last review, else what is available."""
    from pipeline.review.photos import Backbone, kept_backbone

    if stored:
        return Backbone(stored.model.backbones[0], stored.model.weights)
    if kept := kept_backbone(workdir.review):
        return kept
    from components.model.auto import resolve_auto

    resolved = resolve_auto("auto", "auto")
    print(
        f"backbone  {resolved.backbone}, weights {resolved.weights} ({resolved.reason})", flush=True
    )
    return Backbone(resolved.backbone, resolved.weights)


def _describe_table(decisions: "Decisions") -> str:
    here, elsewhere = len(decisions.current()), decisions.of_other_photos
    others = f", and {elsewhere:,} photos that the records do not hold" if elsewhere else ""
    return f"decided already: {here:,}{others}"


def _describe_tally(tally: "Tally") -> str:
    return (
        f"{tally.relabelled:,} relabelled, {tally.right:,} right, {tally.left_out:,} left out; "
        f"{tally.undecided:,} undecided"
    )


def _next_command(options: argparse.Namespace, table: Path) -> str:
    from data.relabels import default_file

    words = ["dog-emotion", "run", "--photos", options.photos, "--workdir", options.workdir]
    if table != default_file(options.photos):
        words += ["--set", f"data.relabels={table.absolute()}"]
    return shlex.join(map(str, words))
