"""Kills a command at each of its steps in turn, and looks at what it has left.

    python -m tests.pipeline.production.kills FOLDER COMMAND...

FOLDER is that of a run; it is put back before each try. A step is a call of the system that
changes something on the disk. It dies of SIGKILL before the step, and in another try after it.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.cli import main
from pipeline.commands import production as commands
from pipeline.outputs import open_store
from pipeline.production import models_config
from pipeline.production.production import Production
from pipeline.workdir import Workdir

STEPS = ("replace", "rename", "fsync", "pwrite", "ftruncate", "unlink", "rmdir")


def run(folder: Path, command: list[str], kill_at: int | None) -> int:
    """Runs the command in a process that dies at a step, counted from 0 with a half each for
    before and after; returns how it ended, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        if kill_at is not None:
            _die_at(kill_at)
        status = main([*command, "--workdir", str(folder)])
    finally:
        os._exit(status)


def _die_at(kill_at: int) -> None:
    count = 0

    def dying(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            _tick()
            result = step(*arguments, **options)
            _tick()
            return result

        def _tick() -> None:
            nonlocal count
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        return call

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))


def state(folder: Path) -> dict[str, Any]:
    """What is in production, by the file and by the history; which versions there are, and for each
    artifact its state in MLMD and the files in its folder."""
    production = Production(Workdir(folder))
    served = models_config.read(production.file)
    history = [event.to_json() for event in production.history()]
    return {
        "labels": None if served is None else dict(served.labels),
        "history": [(each["command"], each["moves"]) for each in history],
        "versions": {
            each.name: sorted(file.name for file in each.rglob("*"))
            for each in Workdir(folder).serving.glob("[0-9]*")
        },
        "artifacts": {
            artifact.uri: (
                mlmd.Artifact.State.Name(artifact.state),
                sorted(each.name for each in Path(artifact.uri).glob("*")),
            )
            for artifact in open_store(Workdir(folder).metadata).get_artifacts()
            if artifact.uri
        },
    }


def try_all(folder: Path, command: list[str], then: list[str]) -> list[dict[str, Any]]:
    """What is left of a folder by a command that dies at each of its steps, and what becomes of it
    by another command. The folder is as it was before each try: MLMD knows it by its path."""
    found = []
    kept = folder.with_name("kept")
    folder.rename(kept)
    for kill_at in range(1000):
        shutil.copytree(kept, folder)
        ended = run(folder, command, kill_at)
        left = {"ended": ended, "state": state(folder)}
        found.append(left)
        if ended == -signal.SIGKILL:
            left["then"] = run(folder, then, None)
            left["after"] = state(folder)
        shutil.rmtree(folder)
        if ended != -signal.SIGKILL:
            break
    kept.rename(folder)
    return found


if __name__ == "__main__":
    untried = {"print_check": lambda version: True, "_require_no_break": lambda *of: None}
    vars(commands).update(untried, _WAIT=0)
    where, *words = sys.argv[1:]
    first, _, second = " ".join(words).partition(" then ")
    print(json.dumps(try_all(Path(where), first.split(), second.split())))
