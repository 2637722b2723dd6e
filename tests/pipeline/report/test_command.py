"""`report` on the command line; what it writes is tested where it is made."""

import os
import webbrowser
from pathlib import Path

import pytest

from data.contract.errors import Exit
from pipeline.cli import main
from pipeline.workdir import Workdir


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs under runs/, the first of which was written to last."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("demo", "photos")):
        folder = Workdir(Path("runs", name))
        folder.root.mkdir(parents=True)
        folder.store_report(name)
        os.utime(folder.report, (10**9 - age, 10**9 - age))
    return tmp_path


def test_the_newest_report_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == Exit.DONE
    assert capsys.readouterr().out == "runs/demo/report/index.html (0.0 MB)\n"


def test_the_report_of_a_folder_is_named_and_opened(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def remember(page: str) -> bool:
        opened.append(page)
        return True

    monkeypatch.setattr(webbrowser, "open", remember)
    assert main(["report", "--workdir", "runs/photos", "--open"]) == Exit.DONE
    page = here / "runs" / "photos" / "report" / "index.html"
    assert opened == [page.as_uri()]
    assert capsys.readouterr().out == "runs/photos/report/index.html (0.0 MB)\n"


def test_where_there_is_no_browser_the_page_is_named_all_the_same(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda page: False)
    assert main(["report", "--open"]) == Exit.USAGE
    said = capsys.readouterr()
    assert said.out == "runs/demo/report/index.html (0.0 MB)\n"
    assert said.err == (
        "dog-emotion: --open: no browser was found; open runs/demo/report/index.html in one\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir", "nowhere"], "--workdir nowhere: no run has written a report there"),
        (["a"], "1 of two runs: name both to compare, or --workdir DIR for one"),
        (["a", "b", "c"], "3 of two runs: name both to compare, or --workdir DIR for one"),
        (["a", "b", "--workdir", "c"], "--workdir is for one report"),
        (["--out", "c.html"], "--out is for comparing: name two runs"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["report", *arguments]) == Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dog-emotion: {message}")


def test_where_nothing_has_run_there_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == Exit.USAGE
    assert "no run under runs/ has written a report" in capsys.readouterr().err
