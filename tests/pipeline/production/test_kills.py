"""Whatever happens to a command, all is as before it or as after it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data.contract.errors import Exit
from pipeline.cli import main
from pipeline.commands import production as commands
from pipeline.production.production import Production
from pipeline.workdir import Workdir
from tests.pipeline.production.folders import make_workdir

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Version 17 was stable, 18 is, and 19 is the canary."""
    monkeypatch.setattr(commands, "print_check", lambda version: True)
    monkeypatch.setattr(commands, "_require_no_break", lambda *arguments: None)
    monkeypatch.setattr(commands, "_WAIT", 0)
    workdir = make_workdir(tmp_path / "run", 17, 18, 19, 20)
    for command in (["promote", "17"], ["promote", "18"], ["canary", "19"]):
        assert main([*command, "--workdir", str(workdir.root)]) == Exit.DONE
    return workdir.root


BEFORE = {"stable": 18, "canary": 19}


@pytest.mark.parametrize(
    ("command", "after"),
    [
        ("promote", {"stable": 19}),
        ("promote 20", {"stable": 20, "canary": 19}),
        ("rollback", {"stable": 17, "canary": 19}),
        ("canary 20", {"stable": 18, "canary": 20}),
        ("canary --remove", {"stable": 18}),
    ],
)
def test_a_command_that_is_killed_has_done_all_or_nothing(
    folder: Path, command: str, after: dict[str, int]
) -> None:
    kills = [sys.executable, "-m", "tests.pipeline.production.kills"]
    done = subprocess.run(
        [*kills, str(folder), *command.split(), "then", "promote", "17"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert found[-1]["ended"] == Exit.DONE
    *killed, whole = found
    assert len(killed) >= 12
    before = [["promote", "17"], ["promote", "18"], ["canary", "19"]]
    for each in killed:
        told = each["state"]["history"]
        assert len(told) == len(before) + (each["state"]["labels"] != BEFORE)
        assert each["state"]["labels"] in (BEFORE, after)
        if each["state"]["labels"] == after:
            assert told == whole["state"]["history"]
        # and the next command does its work as if nothing had been.
        assert each["then"] == Exit.DONE
        assert each["after"]["labels"]["stable"] == 17
        assert each["after"]["history"][: len(told)] == told
        assert len(each["after"]["history"]) == len(told) + (
            each["state"]["labels"]["stable"] != 17
        )
    left = [each["state"]["labels"] for each in killed]
    assert BEFORE in left
    assert after in left


@pytest.mark.parametrize("fails", range(8))
def test_a_full_disk_leaves_all_as_before_or_as_after(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: int
) -> None:
    """The disk is full from the nth write on, and has room again later."""
    writes = 0

    def full(step: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes > fails:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return step(*arguments)

        return call

    capsys.readouterr()
    with monkeypatch.context() as patched:
        for name in ("fsync", "pwrite"):
            patched.setattr(os, name, full(getattr(os, name)))
        status = main(["promote", "20", "--workdir", str(folder)])
    labels = labels_of(folder)
    assert labels in (BEFORE, {"stable": 20, "canary": 19})
    if status != Exit.DONE:
        (line,) = capsys.readouterr().err.splitlines()
        assert "No space left on device" in line
        assert ("the change is in force" in line) == (labels != BEFORE)
    assert main(["promote", "17", "--workdir", str(folder)]) == Exit.DONE
    assert labels_of(folder)["stable"] == 17


def labels_of(folder: Path) -> dict[str, int]:
    return dict(Production(Workdir(folder)).labels or {})
