"""`watch`: photos that come into a folder become runs."""

import argparse
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError
from pipeline.commands.common import (
    add_command,
    add_configuration,
    add_photos_with_workdir,
    complain,
    configuration,
    number,
    photos_workdir,
)

if TYPE_CHECKING:
    from pipeline.commands.common import Commands

PROFILE = "photos"
ENOUGH, DAYS, SETTLED, EVERY = 50, 7, 30, 60


def add_watch(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "watch",
        help="photos that come into a folder become runs, one at a time",
        description="Looks into a folder of photos again and again. When enough new ones are "
        "there, or one of them and the last run is long ago, they become a span and a run, as with "
        "`run`, in a process of its own. What was interrupted goes on; what has failed is tried "
        "again when enough further ones are there or the days have passed. Ctrl-C ends it.",
    )
    add_photos_with_workdir(parser, "where everything goes")
    add_configuration(parser, "photos", default=[PROFILE])
    parser.add_argument(
        "--enough",
        type=number(1, 10**6),
        default=ENOUGH,
        metavar="N",
        help="new photos that are worth a run (default: %(default)s)",
    )
    parser.add_argument(
        "--days",
        type=number(1, 3650),
        default=DAYS,
        metavar="N",
        help="days after the last run when one new photo is worth one (default: %(default)s)",
    )
    parser.add_argument(
        "--settled",
        type=number(1, 86_400),
        default=SETTLED,
        metavar="SECONDS",
        help="photos that have changed since are left for later: they may be half-copied "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--every",
        type=number(1, 86_400),
        default=EVERY,
        metavar="SECONDS",
        help="between two looks (default: %(default)s)",
    )
    parser.add_argument(
        "--hook",
        metavar="COMMAND",
        help="what is told of a blocked model, a failed run and a stop by the data gate: it gets a "
        'JSON object on its standard input, {"event": "blocked", "failed" or "data_gate", '
        '"message", ...}',
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="look once, run if that is due, and end with the run's status: for cron",
    )
    parser.set_defaults(command=_watch)


def _watch(options: argparse.Namespace) -> int:
    from pipeline.watch.watch import Terms, Watch

    configuration(options)  # wrong settings are wrong now, and not at the first run
    hook = _words(options.hook) if options.hook is not None else None
    workdir = photos_workdir(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with workdir.watched():
        watch = Watch(
            options.photos,
            workdir,
            _run_arguments(options, workdir.root),
            Terms(options.enough, options.days, options.settled, options.every, hook),
            complain,
        )
        if options.once:
            return watch.once()
        print(f"watch     {options.photos} (Ctrl-C ends it)", flush=True)
        try:
            watch.always()
        except KeyboardInterrupt:
            complain("stopped")
    return Exit.INTERRUPTED


def _words(hook: str) -> list[str]:
    """The words of a command, as in a shell, but for its operators."""
    try:
        words = shlex.split(hook)
    except ValueError as error:
        raise UsageError(f"--hook {hook!r}: {error}; close the quotation, or escape it") from None
    if not words:
        raise UsageError("--hook is empty: name a command, or leave it out")
    return words


def _run_arguments(options: argparse.Namespace, workdir: Path) -> list[str]:
    """The command line of a run."""
    words = ["run", "--photos", str(options.photos), "--workdir", str(workdir)]
    for profile in options.profiles or options.default_profiles:
        words += ["--profile", profile]
    if options.config:
        words += ["--config", str(options.config)]
    for setting in (f"data.settled_seconds={options.settled}", *options.overrides):
        words += ["--set", setting]
    return words
