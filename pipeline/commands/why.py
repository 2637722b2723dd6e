"""`why`: where a version came from."""

import argparse
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError
from pipeline.commands.common import add_command, add_past_workdir, past_workdir, served_version

if TYPE_CHECKING:
    from pipeline.commands.common import Commands


def add_why(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "why",
        help="where a version came from",
        description="Follows a version that a run has pushed back to the span that it was made "
        "of, with the hash of its manifest, the corrections, settings, code and weights, and says "
        "what it measured, against which version, and what the gate said.",
    )
    parser.add_argument("version", metavar="VERSION", help="a number, as `history` lists them")
    add_past_workdir(parser)
    parser.add_argument("--json", action="store_true", help="print the same as a JSON object")
    parser.set_defaults(command=_why)


def _why(options: argparse.Namespace) -> int:
    import json

    from pipeline.lineage.version import as_json, as_text, find_origin
    from pipeline.outputs import open_store

    if not options.version.isdecimal():
        raise UsageError(f"{options.version!r} is no version: name a number that `history` lists")
    workdir = past_workdir(options.workdir)
    store = open_store(workdir.metadata)
    origin = find_origin(workdir, store, options.version, served_version(workdir))
    print(json.dumps(as_json(origin), indent=2) if options.json else as_text(origin))
    return Exit.DONE
