"""`report`: what a run has measured, and what differs between two runs."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError
from pipeline.commands.common import RUNS, add_command

if TYPE_CHECKING:
    from pipeline.commands.common import Commands


def add_report(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "report",
        help="the report on a run, or two runs side by side",
        description="Names the page that the last run in a folder has written. With two runs, "
        "writes a page that compares them: photos, settings, code, figures, and the photos that "
        "one tells and the other does not. A run is named by its folder, which stands for the last "
        "one there, or by a version that it has pushed.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="two to compare: each a --workdir of `run`, or WORKDIR/serving/dog_emotion/VERSION",
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="whose report to show (default: the newest under runs/)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the page that compares (default: comparison.html)",
    )
    parser.add_argument("--open", action="store_true", help="also open the page in a browser")
    parser.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    if options.runs:
        page = _compare(options)
    elif options.out:
        raise UsageError("--out is for comparing: name two runs")
    else:
        page = _find(options.workdir)
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
    if options.open:
        import webbrowser

        if not webbrowser.open(page.absolute().as_uri()):
            raise UsageError(f"--open: no browser was found; open {page} in one")
    return Exit.DONE


def _compare(options: argparse.Namespace) -> Path:
    if len(options.runs) != 2:
        raise UsageError(
            f"{len(options.runs)} of two runs: name both to compare, or --workdir DIR for one"
        )
    if options.workdir:
        raise UsageError("--workdir is for one report: it does not go with runs to compare")
    from pipeline.progress import chatter_to

    out: Path = options.out or Path("comparison.html")
    with chatter_to(Path(os.devnull)):
        from pipeline.report.comparison import compare

        before, after = options.runs
        compare(before, after, out)
    return out


def _find(workdir: Path | None) -> Path:
    """The report of a folder, or the newest of all."""
    from pipeline.workdir import Workdir

    if workdir is not None:
        page = Workdir(workdir).report
        if not page.is_file():
            raise UsageError(f"--workdir {workdir}: no run has written a report there")
        return page
    found = [page for each in RUNS.glob("*") if (page := Workdir(each).report).is_file()]
    if not found:
        raise UsageError(f"no run under {RUNS}/ has written a report: name another by --workdir")
    return max(found, key=lambda page: page.stat().st_mtime)
