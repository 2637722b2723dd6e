"""`promote`, `rollback`, `canary` and `bless`: which versions answer, and who has let them."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
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
_PATIENCE = 300
"""Seconds that a run waits for another command to end, rather than fail when all else is done."""
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

    return _change("promote", choose, _asked(options))


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

    return _change("rollback", choose, _asked(options))


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

    status = _change("canary", choose, _asked(options))
    if status == Exit.DONE and not options.remove:
        print(
            "requests  those for labels/canary; of the others, `serve --canary_share` sends it a "
            "share.\n          TF Serving has the highest number answer all that name no label: "
            "have clients ask labels/stable"
        )
    return status


def promote_pushed(workdir: "Workdir", version: int) -> None:
    """What `serving.promote` asks for at the end of a run.

    A run whose model is that of the newest version pushes no other. If that was stable before and
    is so no longer, a person has decided against it, and that stands.

    Raises:
        UserError: as `promote`.
    """

    def choose(production: "Production", labels: "Labels", there: list[int]) -> "dict[str, int]":
        from pipeline.production.events import was_stable
        from pipeline.production.production import without

        if labels.get(STABLE) != version and was_stable(production.history(), version):
            complain(
                f"version {version} was stable before and is not promoted again: if it should "
                f"answer after all, `dog-emotion promote {version}`"
            )
            return dict(labels)
        return {**without(labels, version), STABLE: version}

    _change("promote", choose, _Asked(workdir, "serving.promote", None, _WAIT, _PATIENCE))


@dataclass(frozen=True)
class _Asked:
    """What the user wants besides the labels."""

    workdir: "Workdir"
    reason: str
    url: str | None
    wait: int
    patience: float = 0
    """Seconds that another command is given to end."""


def _asked(options: argparse.Namespace) -> _Asked:
    return _Asked(past_workdir(options.workdir), options.reason, options.url, options.wait)


_Choose = Callable[["Production", "Labels", list[int]], "dict[str, int]"]
"""The labels from now on, from those now and the versions that there are."""


def _change(command: str, choose: _Choose, asked: _Asked) -> int:
    from pipeline.production.production import Production

    workdir = asked.workdir
    there = _versions(workdir)
    production = Production(workdir)
    with production.locked(asked.patience):
        labels = production.labels or {}
        after = choose(production, labels, there)
        if after == labels:
            print(
                f"{_said(after)} already; nothing has changed" if after else "nothing has changed"
            )
            return Exit.DONE
        for version in sorted(after[label] for label in after if after[label] != labels.get(label)):
            _require_servable(workdir, version, there)
            if command != "rollback" and STABLE in labels:
                _require_no_break(production, workdir, labels[STABLE], version)
        first = production.labels is None
        event = production.change(command, after, asked.reason, _loader(asked))
    print(f"serving   {production.file}")
    _report(event, asked)
    if first:
        print(
            "servers   `serve` that has found this folder by itself follows the file from now on; "
            "all others\n          must be started again, with --model_config_file "
            f"{production.file}\n          --model_config_file_poll_wait_seconds 1"
        )
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


def _require_no_break(
    production: "Production", workdir: "Workdir", stable: int, version: int
) -> None:
    """Refuses a version that clients of the one that is stable could not ask, or would
    misunderstand, unless a person has allowed it."""
    from pipeline.production.events import BLESS
    from serving.checking.interface import find_breaks, read_interface
    from serving.embedded.status import RequestError

    if any(event.command == BLESS and event.version == version for event in production.history()):
        return
    try:
        known = read_interface(workdir.serving / str(stable))
    except RequestError as error:
        complain(f"not compared with version {stable}, which is stable: {error.message}")
        return
    if breaks := find_breaks(known, read_interface(workdir.serving / str(version))):
        raise UserError(
            f"version {version} has {'; '.join(breaks)}, other than version {stable}, which is "
            f"stable: if clients know, `dog-emotion bless {version} --force --reason ...` first"
        )


def add_bless(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "bless",
        help="let a model into production that would be refused",
        description="Of a RUN whose model the gate has blocked, pushes the model all the same. Of "
        "a VERSION, lets promote and canary take it though it has other classes or signatures than "
        "what is stable. Who decides so says why; history and why show it from then on.",
    )
    parser.add_argument(
        "what",
        metavar="VERSION|RUN",
        help="a version, or a run by when it began or by its name, both as `history` lists them",
    )
    parser.add_argument(
        "--force", action="store_true", help="needed: this goes against the gate or the checks"
    )
    parser.add_argument("--reason", type=_reason, required=True, help="kept in the history")
    add_past_workdir(parser)
    parser.set_defaults(command=_bless)


def _bless(options: argparse.Namespace) -> int:
    from pipeline.production.events import BLESS
    from pipeline.production.production import Production

    if not options.force:
        raise UsageError(
            f"bless {options.what}: it goes against the gate or the checks: add --force"
        )
    if not options.reason.strip():
        raise UsageError("--reason: say why")
    workdir = past_workdir(options.workdir)
    is_version = options.what.isascii() and options.what.isdecimal()
    if is_version and int(options.what) not in _versions(workdir):
        raise UserError(f"version {options.what} is not in {workdir.serving}, or not complete")
    with workdir.locked():  # a run writes to the same store, and pushes as well
        workdir.serving.mkdir(parents=True, exist_ok=True)
        production = Production(workdir)
        with production.locked():
            version = int(options.what) if is_version else _push_blocked(workdir, options.what)
            production.decide(BLESS, version, options.reason)
            answers = production.labels is None and version == max(_versions(workdir))
    print(f"blessed   version {version}")
    if answers:
        print("serving   it answers at once: nothing was promoted, so the newest version does")
    else:
        print(f"promote   dog-emotion promote {version}")
    return Exit.DONE


def _push_blocked(workdir: "Workdir", named: str) -> int:
    """Pushes the model of a run that the gate has blocked; returns its version."""
    from pipeline.lineage.history import find_run
    from pipeline.outputs import open_store, read_outputs
    from pipeline.production.blessing import blocked_model, record_push
    from pipeline.progress import chatter_to

    store = open_store(workdir.metadata)
    run = find_run(store, named)
    outputs = read_outputs(store, run)
    model, accuracy = blocked_model(run, outputs)
    with chatter_to(workdir.log):
        from tfx.utils import path_utils

        from components.nodes.pusher import push_measured

        version = push_measured(path_utils.serving_model_dir(model), str(workdir.serving), accuracy)
    record_push(store, run, outputs, version)
    return int(version.rpartition("/")[2])


def _listed(versions: list[int]) -> str:
    return ", ".join(map(str, versions[-10:]))


def _loader(asked: _Asked) -> Callable[[int], None]:
    """What waits until servers have loaded a version."""

    url = asked.url
    if url is None:
        return lambda version: _sleep(version, asked.wait)

    def ask(version: int) -> None:
        from serving.asking.loading import await_version

        print(f"waiting   for {url} to load version {version}", flush=True)
        await_version(url, version, asked.wait)

    return ask


def _sleep(version: int, seconds: int) -> None:
    print(
        f"waiting   {seconds} seconds, for servers to load version {version} (--wait; with --url, "
        "only until a server has)",
        flush=True,
    )
    time.sleep(seconds)


def _report(event: "Event", asked: _Asked) -> None:
    from serving.asking.loading import await_label

    for label, old, new in event.moves:
        print(f"{label:<10}{'none' if new is None else new}, before: {old or 'none'}")
        if asked.url and new is not None and not await_label(asked.url, label, new, asked.wait):
            complain(
                f"{asked.url} does not answer as {label} with version {new} after "
                f"{asked.wait} seconds: does it read models.config again and again?"
            )


def _said(labels: "Labels") -> str:
    return ", ".join(f"{label} is {labels[label]}" for label in sorted(labels, reverse=True))
