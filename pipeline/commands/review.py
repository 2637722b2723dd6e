"""`review`: the most doubtful labels first, for a person to decide about."""

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError
from pipeline.commands.common import RUNS, add_command, number, require_there

if TYPE_CHECKING:
    from data.ingest import IngestResult
    from pipeline.commands.common import Commands
    from pipeline.config import Config
    from pipeline.review.decisions import Decisions, Tally
    from pipeline.review.doubts import Doubts
    from pipeline.review.photos import Backbone
    from pipeline.workdir import Workdir

PORT = 8502


def add_review(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "review",
        help="the most doubtful labels first, for you to decide about",
        description="Opens a page on this machine that shows the photos whose labels fit least to "
        "those of similar photos, and takes what you decide: one key a photo. Each decision is a "
        "row in a table that `run` and `data` honour; no photo is moved or deleted. Ctrl-C ends "
        "it.",
    )
    parser.add_argument(
        "photos",
        type=Path,
        metavar="PHOTOS",
        help="one folder of photos per class, or a CSV file with the columns path,label",
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        default=RUNS / "photos",
        metavar="DIR",
        help="the folder of the runs on these photos (default: %(default)s)",
    )
    parser.add_argument(
        "--relabels",
        type=Path,
        metavar="FILE",
        help="the table of decisions (default: relabels.csv in PHOTOS or, if that is a CSV file, "
        "beside it)",
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
    from data import relabels
    from data.folder import require_apart
    from pipeline.workdir import Workdir

    require_there("", options.photos)
    table = options.relabels or relabels.default_file(options.photos)
    _require_writable(table)
    workdir = Workdir(options.workdir.absolute())
    workdir.require_usable()
    require_apart(workdir.root, options.photos)
    print(f"workdir   {workdir.root}", flush=True)
    with workdir.locked():
        config = workdir.stored_config()
        ingested = _ingest(options.photos, workdir, config)
        doubts = _rank(ingested, workdir, config)

    from pipeline.review.decisions import Decisions
    from pipeline.review.server import ReviewServer, photo_reader

    decisions = Decisions(table, doubts.photos)
    reader = photo_reader(options.photos, doubts.photos)
    server = ReviewServer(doubts, decisions, reader, options.port)
    print(f"relabels  {table}: {_describe_table(decisions)}")
    print(f"review    {server.url}   (Ctrl-C when you have done enough)", flush=True)
    try:
        server.run()
    except KeyboardInterrupt:
        print(f"\n{_describe_end(decisions.tally())}: {table}")
        print(f"next      {_next_command(options)}")
    return Exit.DONE


def _require_writable(table: Path) -> None:
    """Before minutes are spent on what could not be kept."""
    place = table if table.exists() else table.parent
    if not os.access(place, os.W_OK):
        raise UsageError(f"{table} cannot be written: name another file with --relabels FILE")


def _ingest(photos: Path, workdir: "Workdir", config: "Config | None") -> "IngestResult":
    from data.contract.progress import tenths
    from data.ingest import ingest
    from pipeline.beam_args import beam_args, prepared_workers
    from pipeline.config import Config
    from pipeline.progress import chatter_to, describe_records

    config = config or Config()
    with chatter_to(Path(os.devnull)), prepared_workers(config.beam):
        ingested = ingest(
            photos,
            workdir.data,
            max_reject_share=config.data.max_reject_share,
            progress=tenths("photos    read"),
            beam_options=beam_args(config.beam, root=str(workdir.root)),
        )
    print(f"records   {describe_records(ingested)}", flush=True)
    return ingested


def _rank(ingested: "IngestResult", workdir: "Workdir", config: "Config | None") -> "Doubts":
    from data.contract.progress import tenths
    from pipeline.progress import chatter_to
    from pipeline.review.doubts import Doubts
    from pipeline.review.photos import read_photos

    with chatter_to(Path(os.devnull)):
        photos, features = read_photos(
            ingested.span_dir,
            workdir.review,
            _backbone(workdir, config),
            tenths("features  of"),
        )
        return Doubts.of(photos, features)


def _backbone(workdir: "Workdir", config: "Config | None") -> "Backbone":
    """That of the folder's last run or last review, else what is available."""
    from pipeline.review.photos import Backbone, kept_backbone

    if config:
        return Backbone(config.model.backbone, config.model.weights)
    if kept := kept_backbone(workdir.review):
        return kept
    from components.model.auto import resolve_auto

    resolved = resolve_auto("auto", "auto")
    print(f"backbone  {resolved.backbone}, weights {resolved.weights} ({resolved.reason})")
    return Backbone(resolved.backbone, resolved.weights)


def _describe_table(decisions: "Decisions") -> str:
    here, elsewhere = len(decisions.current()), decisions.of_other_photos
    others = f", {elsewhere:,} about photos that the records do not hold" if elsewhere else ""
    return f"{here:,} photos are decided already{others}"


def _describe_end(tally: "Tally") -> str:
    return (
        f"decided   {tally.relabelled:,} relabelled, {tally.right:,} right, "
        f"{tally.left_out:,} left out; {tally.undecided:,} undecided"
    )


def _next_command(options: argparse.Namespace) -> str:
    words = ["dog-emotion", "run", "--photos", options.photos, "--workdir", options.workdir]
    if options.relabels:
        words += ["--relabels", options.relabels]
    return shlex.join(map(str, words))
