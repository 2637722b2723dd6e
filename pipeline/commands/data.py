"""`data`: photos to records, the first step of `run` alone, and the proof that no split leaks."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError
from pipeline.commands.common import (
    add_command,
    add_configuration,
    add_photos,
    configuration,
    number,
    require_there,
)

if TYPE_CHECKING:
    from pipeline.commands.common import Commands


def add_data(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "data",
        help="photos to checked, split TFRecords",
        description="Reads and checks photos, splits them 70/15/15 with near-duplicates in one "
        "split, and writes them as TFRecord shards: the first step of `run`, alone. With --prove, "
        "looks instead for near-duplicates across the splits of records that exist.",
    )
    add_photos(parser, nargs="?")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where spans go")
    parser.add_argument(
        "--span",
        type=number(1, 999_999_999),
        metavar="N",
        help="write span N with only what is in no earlier span; by default the next span holds "
        "all of PHOTOS",
    )
    parser.add_argument(
        "--prove",
        type=Path,
        metavar="RECORDS",
        help="a folder of records, span-N or one of spans: how many groups of near-duplicates are "
        "in two splits, and what a random split of the same photos would have claimed",
    )
    add_configuration(parser, "none by default")
    parser.set_defaults(command=_data)


def _data(options: argparse.Namespace) -> int:
    if options.prove:
        if options.photos or options.out or options.span:
            raise UsageError("--prove looks at records: PHOTOS, --out and --span do not go with it")
        return _prove(options)
    if not options.photos or not options.out:
        raise UsageError("name the PHOTOS and, with --out, where their records go; or --prove")
    return _ingest(options)


def _ingest(options: argparse.Namespace) -> int:
    from data.contract.progress import tenths
    from data.folder import require_apart
    from data.ingest import ingest
    from pipeline.beam_args import beam_args, prepared_workers
    from pipeline.progress import chatter_to, describe_alike, describe_records, describe_remarks
    from pipeline.workdir import require_plain

    require_there("", options.photos)
    require_plain("--out", options.out)
    require_apart(options.out, options.photos)
    config = configuration(options)
    beam_options = beam_args(config.beam, root=str(options.out))
    with chatter_to(Path(os.devnull)), prepared_workers(config.beam):
        ingested = ingest(
            options.photos,
            options.out,
            span=options.span,
            last_spans=config.data.window,
            decisions=config.data.relabels,
            max_reject_share=config.data.max_reject_share,
            settled_seconds=config.data.settled_seconds,
            progress=tenths("read"),
            beam_options=beam_options,
        )
    lines = (describe_records(ingested), describe_alike(ingested), *describe_remarks(ingested))
    print("\n".join(lines))
    return Exit.DONE


def _prove(options: argparse.Namespace) -> int:
    config = configuration(options)
    from pipeline.progress import chatter_to

    with chatter_to(Path(os.devnull)):
        from pipeline.proof import as_text, prove

        proof = prove(options.prove, config.model)
    print(as_text(proof))
    return Exit.FAILED if proof.spanning else Exit.DONE
