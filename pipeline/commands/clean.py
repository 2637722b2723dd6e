"""`clean`: removes what neither production nor the next run needs."""

import argparse
import sys
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError, UserError
from pipeline.commands.common import add_command, add_past_workdir, past_workdir

if TYPE_CHECKING:
    from pipeline.commands.common import Commands


def add_clean(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "clean",
        help="remove what neither production nor the next run needs",
        description="Lists what can go, and removes it when you agree: pushed versions that are "
        "neither in production nor the newest, but for those that were stable before "
        "(serving.keep in the configuration of the last run, 2 by default); records, features and "
        "models of earlier runs behind none of the kept versions; and what was never finished. "
        "What `history` and `why` read of earlier runs stays, and so do the photos' spans.",
    )
    add_past_workdir(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--yes", action="store_true", help="do not ask")
    how.add_argument("--dry-run", action="store_true", help="list it, and remove nothing")
    parser.set_defaults(command=_clean)


def _clean(options: argparse.Namespace) -> int:
    from pipeline.config import ServingSettings
    from pipeline.outputs import open_store
    from pipeline.production.cleaning import find_waste, kept_versions, remove
    from pipeline.production.production import Production

    workdir = past_workdir(options.workdir)
    with workdir.locked():
        workdir.serving.mkdir(parents=True, exist_ok=True)
        production = Production(workdir)
        with production.locked():
            config = workdir.stored_config()
            keep = (config.serving if config else ServingSettings()).keep
            kept = kept_versions(workdir, production.labels, production.history(), keep)
            store = open_store(workdir.metadata)
            waste = find_waste(workdir, store, kept)
            for each in waste:
                print(f"{each.size / 1e6:>10,.1f} MB  {each.what}")
            total = f"{sum(each.size for each in waste) / 1e6:,.1f} MB"
            print(f"{total:>13}  in all; kept: {', '.join(map(str, sorted(kept))) or 'no version'}")
            if not waste or options.dry_run or not (options.yes or _agreed(total)):
                return Exit.DONE
            try:
                remove(store, waste)
            except OSError as error:
                raise UserError(
                    f"{error.filename} cannot be removed ({error.strerror}): see to it and clean "
                    "again; what is gone is known to be"
                ) from error
    print(f"removed   {total}")
    return Exit.DONE


def _agreed(total: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: add --yes, or --dry-run to see the list alone")
    return input(f"remove {total}? [y/N] ").strip().lower() in ("y", "yes")
