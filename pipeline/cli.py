"""The command line: `dog-emotion COMMAND`."""

import argparse
import os
import sys
from collections.abc import Sequence

from data.contract.errors import Exit, UserError
from pipeline.commands.audit import add_audit
from pipeline.commands.clean import add_clean
from pipeline.commands.common import EXIT_STATUS, complain
from pipeline.commands.data import add_data
from pipeline.commands.deploy import add_compile, add_run_spec, add_submit
from pipeline.commands.drift import add_drift
from pipeline.commands.history import add_history
from pipeline.commands.predict import add_predict
from pipeline.commands.production import add_bless, add_canary, add_promote, add_rollback
from pipeline.commands.report import add_report
from pipeline.commands.review import add_review
from pipeline.commands.run import add_run
from pipeline.commands.serve import add_check, add_serve
from pipeline.commands.watch import add_watch
from pipeline.commands.why import add_why


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the console script `dog-emotion`.

    Args:
        arguments: the command line without the program's name; sys.argv's by default.

    Returns:
        One of `Exit`. argparse itself exits with 2 on wrong usage.
    """
    options = _parser().parse_args(arguments)
    try:
        status = int(options.command(options))
        sys.stdout.flush()  # a reader that has gone is noticed here, not at exit
        return status
    except UserError as error:
        complain(error)
        return error.exit_status
    except KeyboardInterrupt:
        complain("interrupted; run the same command again to go on from here")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as with `| head`: Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dog-emotion",
        description="From a folder of labelled dog photos to an emotion classifier in production.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_run(commands)
    add_watch(commands)
    add_data(commands)
    add_audit(commands)
    add_review(commands)
    add_report(commands)
    add_history(commands)
    add_why(commands)
    add_promote(commands)
    add_rollback(commands)
    add_canary(commands)
    add_bless(commands)
    add_clean(commands)
    add_predict(commands)
    add_serve(commands)
    add_drift(commands)
    add_check(commands)
    add_compile(commands)
    add_submit(commands)
    add_run_spec(commands)
    return parser
