"""`history`: the runs of a folder, and what became of their models."""

import argparse
import json
from typing import TYPE_CHECKING

from data.contract.errors import Exit
from pipeline.commands.common import add_command, add_past_workdir, past_workdir, served_version

if TYPE_CHECKING:
    from pipeline.commands.common import Commands


def add_history(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "history",
        help="the runs of a folder, and what became of their models",
        description="A line for each run, the oldest first: when it began, which span it read, "
        "its accuracy on the test photos with the 95 % interval, the version that it pushed, the "
        "gate's verdict, and which version is served now: what is stable, or the newest one as "
        "long as none was promoted. Below, a line for each change of what is in production.",
    )
    add_past_workdir(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help='print a list of {"run", "when", "span", "accuracy", "interval", "verdict", "pushed", '
        '"version", "kept", "served_now", "canary_now", "production"}',
    )
    parser.set_defaults(command=_history)


def _history(options: argparse.Namespace) -> int:
    from pipeline.lineage.history import as_json, as_text, read_history
    from pipeline.outputs import open_store
    from pipeline.production.production import Production

    workdir = past_workdir(options.workdir)
    runs = read_history(open_store(workdir.metadata), served_version(workdir))
    events = Production(workdir).history()
    said = runs, events, [each.name for each in workdir.serving.glob("*")]
    print(json.dumps(as_json(*said), indent=2) if options.json else as_text(*said))
    return Exit.DONE
