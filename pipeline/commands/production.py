"""`promote`, `rollback` and `canary`: which versions answer, and how many of the requests."""

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError, UserError
from data.contract.labels import CANARY, STABLE
from pipeline.commands.common import (
    add_command,
    add_past_workdir,
    complain,
    number,
    past_workdir,
)
from pipeline.commands.serve import print_check

if TYPE_CHECKING:
    from pipeline.commands.common import Commands
    from pipeline.production.events import Event, Labels
    from pipeline.production.production import Production
    from pipeline.workdir import Workdir

_WAIT = 30
_LONGEST_REASON = 1000

_HOW = (
    " It is checked first, as by `check`. Servers that read WORKDIR/serving/models.config load it "
    "before the label moves, and no request is lost. `history` shows what was in production when, "
    "and why."
)


def add_promote(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "promote",
        help="make a version the one that answers",
        description="Makes a version stable: the one that answers." + _HOW,
    )
    parser.add_argument(
        "version",
        nargs="?",
        type=_version,
        metavar="VERSION",
        help="one that `history` lists (default: the canary, or the newest if there is none)",
    )
    _add_options(parser)
    parser.set_defaults(command=_promote)


def add_rollback(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "rollback",
        help="go back to the version that was stable before",
        description="Makes stable again what was before the version that is; once more goes "
        "further back." + _HOW,
    )
    _add_options(parser)
    parser.set_defaults(command=_rollback)


def add_canary(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "canary",
        help="try a version beside the one that is stable",
        description="Gives a version the label canary, beside what is stable. `promote` then makes "
        "it stable." + _HOW,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "version", nargs="?", type=_version, metavar="VERSION", help="one that `history` lists"
    )
    which.add_argument("--remove", action="store_true", help="take the label away")
    _add_options(parser)
    parser.set_defaults(command=_canary)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_past_workdir(parser)
    parser.add_argument(
        "--url",
        help="a server that reads models.config, such as http://localhost:8501: go on as soon as "
        "it has loaded the version",
    )
    parser.add_argument(
        "--wait",
        type=number(0, 86_400),
        default=_WAIT,
        metavar="SECONDS",
        help="how long servers may take to load a version (default: %(default)s): more than their "
        "--model_config_file_poll_wait_seconds, or they will refuse the label",
    )
    parser.add_argument("--reason", type=_reason, default="", help="kept in the history")


def _version(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version, which is a number")
    return int(text)


def _reason(text: str) -> str:
    if len(text) > _LONGEST_REASON or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"should be one line of at most {_LONGEST_REASON} characters"
        )
    return text


def _promote(options: argparse.Namespace) -> int:
    def choose(production: "Production", labels: "Labels", there: list[int]) -> "dict[str, int]":
        from pipeline.production.production import without

        version = options.version or labels.get(CANARY) or max(there)
        return {**without(labels, version), STABLE: version}

    return _change("promote", choose, options)


def _rollback(options: argparse.Namespace) -> int:
    def choose(production: "Production", labels: "Labels", there: list[int]) -> "dict[str, int]":
        from pipeline.production.events import former_stable
        from pipeline.production.production import without

        former = former_stable(production.history())
        if not former:
            stable = f"version {labels[STABLE]}" if STABLE in labels else "now"
            raise UserError(
                f"nothing was stable before {stable}: name a version by `dog-emotion promote`; "
                f"there are {_listed(there)}"
            )
        return {**without(labels, former[0]), STABLE: former[0]}

    return _change("rollback", choose, options)


def _canary(options: argparse.Namespace) -> int:
    def choose(production: "Production", labels: "Labels", there: list[int]) -> "dict[str, int]":
        from pipeline.production.production import without

        if options.remove:
            if CANARY not in labels:
                raise UserError("there is no canary to remove")
            return without(labels, labels[CANARY])
        if STABLE not in labels:
            raise UserError("nothing is stable yet: promote a version first")
        if labels[STABLE] == options.version:
            raise UserError(f"version {options.version} is stable: name another as canary")
        return {**labels, CANARY: options.version}

    status = _change("canary", choose, options)
    if status == Exit.DONE and not options.remove:
        print(
            "requests  those for labels/canary; of the others, `serve --canary_share` sends it a "
            "share.\n          TF Serving has the highest number answer all that name no label: "
            "have clients ask labels/stable"
        )
    return status


_Choose = Callable[["Production", "Labels", list[int]], "dict[str, int]"]
"""The labels from now on, from those now and the versions that there are."""


def _change(command: str, choose: _Choose, options: argparse.Namespace) -> int:
    from pipeline.production.production import Production

    workdir = past_workdir(options.workdir)
    there = _versions(workdir)
    production = Production(workdir)
    with production.locked():
        labels = production.labels or {}
        after = choose(production, labels, there)
        if after == labels:
            print(f"{_said(after)} already; nothing has changed")
            return Exit.DONE
        for version in sorted(after[label] for label in after if after[label] != labels.get(label)):
            _require_servable(workdir, version, there)
        event = production.change(command, after, options.reason, _loader(options))
    print(f"serving   {production.file}")
    _report(event, options)
    return Exit.DONE


def _versions(workdir: "Workdir") -> list[int]:
    from serving.asking.pushed import complete_versions

    found = sorted(int(each.name) for each in complete_versions(workdir.serving.glob("*")))
    if not found:
        raise UsageError(f"{workdir.root}: no version was pushed there; name another --workdir")
    return found


def _require_servable(workdir: "Workdir", version: int, there: list[int]) -> None:
    if version not in there:
        raise UserError(
            f"version {version} is not in {workdir.serving}, or not complete; there are "
            f"{_listed(there)}"
        )
    if not print_check(workdir.serving / str(version)):
        raise UserError(f"version {version} could not be served: the labels are as before")


def _listed(versions: list[int]) -> str:
    return ", ".join(map(str, versions[-10:]))


def _loader(options: argparse.Namespace) -> Callable[[int], None]:
    """What waits until servers have loaded a version."""

    def ask(version: int) -> None:
        from serving.asking.loading import await_version

        print(f"waiting   for {options.url} to load version {version}", flush=True)
        await_version(options.url, version, options.wait)

    def wait(version: int) -> None:
        print(
            f"waiting   {options.wait} seconds, for servers to load version {version} (--wait; "
            "with --url, only until a server has)",
            flush=True,
        )
        time.sleep(options.wait)

    return ask if options.url else wait


def _report(event: "Event", options: argparse.Namespace) -> None:
    from serving.asking.loading import await_label

    for label, old, new in event.moves:
        print(f"{label:<10}{'none' if new is None else new}, before: {old or 'none'}")
        if (
            options.url
            and new is not None
            and not await_label(options.url, label, new, options.wait)
        ):
            complain(
                f"{options.url} does not answer as {label} with version {new} after "
                f"{options.wait} seconds: does it read models.config again and again?"
            )


def _said(labels: "Labels") -> str:
    return ", ".join(f"{label} is {labels[label]}" for label in sorted(labels, reverse=True))
