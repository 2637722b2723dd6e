"""`drift`: whether the photos in service are still like those that the model was trained on."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.contract.errors import Exit, UsageError, UserError
from data.contract.model import MODEL_NAME
from pipeline.commands.common import (
    add_command,
    add_past_workdir,
    complain,
    past_workdir,
    served_version,
)

if TYPE_CHECKING:
    from components.data_gate.checks import Check
    from pipeline.commands.common import Commands
    from pipeline.drift.counted import Counted

URL = "http://localhost:8501"
SECONDS = 30
MOST_BYTES = 16 * 2**20
"""Of a server's metrics."""


def add_drift(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "drift",
        help="whether the photos in service are still like those trained on",
        description="Compares what a server has counted of its photos and answers (class shares, "
        "brightness, size) with the training photos of the version that is served, by the measures "
        "and limits of the data gate, which allow for chance. The exit status is 3 if they differ.",
    )
    parser.add_argument(
        "--url", default=URL, help="a server that `serve` runs (default: %(default)s)"
    )
    parser.add_argument(
        "--model_name", default=MODEL_NAME, metavar="NAME", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--window",
        type=Path,
        metavar="FILE",
        help="look at what was counted since the last call with this file, which keeps the counts "
        "(default: since the server's start)",
    )
    add_past_workdir(parser)
    parser.add_argument("--json", action="store_true", help="print the same as a JSON object")
    parser.set_defaults(command=_drift)


def _drift(options: argparse.Namespace) -> int:
    workdir = past_workdir(options.workdir)
    version = served_version(workdir)
    if version is None:
        raise UsageError(
            f"no version was pushed in {workdir.root}, or its models.config calls none stable: "
            "promote one, or name another --workdir"
        )
    now = _scrape(options.url, options.model_name, version)
    window = _since_last(options.window, now) if options.window else now
    checks = []
    if window.measured and window.dogs:
        from pipeline.config import Config
        from pipeline.outputs import open_store
        from pipeline.progress import chatter_to

        config = workdir.stored_config() or Config()
        with chatter_to(Path(os.devnull)):
            from pipeline.drift.comparison import compare, find_statistics

            trained = find_statistics(open_store(workdir.metadata), version)
            checks = compare(window, trained, config.data_gate.limits)
    if options.window:
        from pipeline.workdir import write_atomically

        write_atomically(options.window, now.to_json())  # only now: what failed is looked at again
    differs = not all(check.within for check in checks)
    said = _as_json(window, version, checks, differs)
    print(json.dumps(said, indent=2) if options.json else _as_text(window, version, checks))
    if differs:
        complain("the photos in service differ from those trained on")
    return Exit.BLOCKED if differs else Exit.DONE


def _scrape(url: str, model: str, version: str) -> "Counted":
    import http.client
    import urllib.request

    from pipeline.drift.counted import Counted
    from serving.embedded.app import METRICS_PATH

    address = url.rstrip("/") + METRICS_PATH
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as response:
            text = response.read(MOST_BYTES).decode()
        counted = Counted.of(text, model, version)
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"{address} cannot be reached ({error}): is the server running?") from None
    except ValueError as error:
        raise UserError(f"{address} gives no metrics ({error}): name another --url") from None
    if not counted.total:
        complain(f"{address} has counted no answer of {model}'s version {version} yet")
    return counted


def _since_last(file: Path, now: "Counted") -> "Counted":
    from pipeline.drift.counted import Counted

    try:
        return now.since(Counted.from_json(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return now
    except (OSError, ValueError) as error:
        raise UsageError(f"--window {file}: {error}; delete it or name another") from None


def _as_json(
    window: "Counted", version: str, checks: "list[Check]", differs: bool
) -> dict[str, Any]:
    return {
        "version": version,
        "answers": window.total,
        "measured": window.measured,
        "not_sure": window.not_sure,
        "no_dog": window.no_dog,
        "labels": window.labels,
        "drift": differs,
        "checks": [
            {
                "feature": check.feature,
                "measured": check.measured,
                "limit": check.limit,
                "within": check.within,
                "remark": check.remark,
            }
            for check in checks
        ],
    }


def _as_text(window: "Counted", version: str, checks: "list[Check]") -> str:
    lines = [
        f"answers   {window.total:,}: {window.not_sure:.1%} not sure, {window.no_dog:.1%} no dog; "
        f"{window.measured:,} photos measured",
        f"version   {version}",
    ]
    if not checks:
        return "\n".join([*lines, "drift     not looked for: there is nothing to compare yet"])
    lines.append(f"{'drift':<30}{'limit':>9}{'measured':>10}")
    for check in checks:
        figures = [
            "-" if figure is None else f"{figure:.3f}" for figure in (check.limit, check.measured)
        ]
        verdict = "within" if check.within else "DIFFERS"
        lines.append(
            f"{check.feature:<30}{figures[0]:>9}{figures[1]:>10}   {verdict}   ({check.remark})"
        )
    return "\n".join(lines)
