"""`audit`: what there is to know about photos before anything is trained on them."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit
from pipeline.commands.common import add_command, add_configuration, add_photos, configuration

if TYPE_CHECKING:
    from pipeline.commands.common import Commands


def add_audit(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "audit",
        help="a page on what is wrong with photos",
        description="Looks at photos as `run` would, trains nothing, and writes one HTML page: "
        "files that are no photos, near-duplicates, conflicting labels, photos without a dog, "
        "white bars, sizes, brightness, and a sample of each class.",
    )
    add_photos(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("audit.html"),
        metavar="FILE",
        help="the page (default: %(default)s)",
    )
    add_configuration(parser, "none by default")
    parser.set_defaults(command=_audit)


def _audit(options: argparse.Namespace) -> int:
    from pipeline.beam_args import beam_args, prepared_workers
    from pipeline.progress import chatter_to

    config = configuration(options)
    beam_options = beam_args(config.beam, root=str(options.out.absolute().parent))
    with chatter_to(Path(os.devnull)), prepared_workers(config.beam):
        from pipeline.audit.audit import audit

        found = audit(
            options.photos,
            options.out,
            data=config.data,
            model=config.model,
            beam_options=beam_options,
        )
    size = options.out.stat().st_size / 1e6
    print(
        f"{found.photos:,} photos, {len(found.used):,} usable, {len(found.rejected):,} rejected, "
        f"{len(found.conflicts):,} left out: {options.out} ({size:.1f} MB)"
    )
    return Exit.DONE
