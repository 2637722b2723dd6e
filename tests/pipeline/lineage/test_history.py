import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data.contract.errors import Exit
from data.contract.nodes import EVALUATOR
from data.contract.servable import NEEDED_FILES
from pipeline.cli import main
from pipeline.lineage.history import PastRun, read_history
from pipeline.outputs import open_store
from pipeline.workdir import Workdir
from tests.pipeline.lineage.stores import Counted, Recorder, memory_store

ROOT = Path(__file__).parents[3]
BLOCKED = "blocked: not worse than the last pushed"


def push(workdir: Workdir, version: str) -> Path:
    """An empty version that is complete."""
    folder = workdir.serving / version
    for name in NEEDED_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    """Four runs: one pushed a model, one was blocked, one pushed the next, one was stopped."""
    found = Workdir(tmp_path / "runs" / "photos")
    found.root.mkdir(parents=True)
    recorder = Recorder(open_store(found.metadata))
    for number, (accuracy, said, version) in enumerate(
        [(0.5, "passed", "17"), (0.4, BLOCKED, None), (0.6, "passed", "18")], start=1
    ):
        run = recorder.begin(f"run-{number}", span=number)
        recorder.measure(run, accuracy, said)
        recorder.push(run, push(found, version) if version else None)
    recorder.begin("run-4", span=4)
    return found


def test_a_line_for_each_run_says_what_became_of_its_model(
    workdir: Workdir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["history", "--workdir", str(workdir.root)]) == Exit.DONE
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["began", "(UTC)", "span", "accuracy", "version", "gate"]
    when = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d +")
    assert all(when.match(line) for line in lines)
    assert [" ".join(when.sub("", line).split()) for line in lines] == [
        "1 0.500 (0.460 to 0.540) 17 passed",
        f"2 0.400 (0.360 to 0.440) not pushed {BLOCKED}",
        "3 0.600 (0.560 to 0.640) 18 passed, served now",
        "4 - not pushed the run did not come to it",
    ]


def test_json_is_a_list_of_the_same(workdir: Workdir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "--json", "--workdir", str(workdir.root)]) == Exit.DONE
    first, blocked, served, stopped = json.loads(capsys.readouterr().out)
    began = datetime.fromisoformat(first.pop("when"))
    assert abs(datetime.now(UTC) - began) < timedelta(hours=1)
    assert first == {
        "run": "run-1",
        "span": 1,
        "accuracy": 0.5,
        "interval": [0.46, 0.54],
        "verdict": "passed",
        "pushed": True,
        "version": "17",
        "kept": True,
        "served_now": False,
        "canary_now": False,
        "production": [],
    }
    assert (blocked["pushed"], blocked["version"], blocked["verdict"]) == (False, None, BLOCKED)
    assert (served["version"], served["served_now"]) == ("18", True)
    assert (stopped["accuracy"], stopped["interval"], stopped["verdict"]) == (None, None, None)


def test_a_version_that_was_removed_is_marked(
    workdir: Workdir, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(workdir.serving / "17")
    where = ["--workdir", str(workdir.root)]
    assert main(["history", *where]) == Exit.DONE
    said = capsys.readouterr().out
    assert "17 (gone)" in said
    assert said.count("(gone)") == 1
    assert main(["history", "--json", *where]) == Exit.DONE
    runs = json.loads(capsys.readouterr().out)
    assert [run["kept"] for run in runs] == [False, False, True, False]


def test_an_incomplete_version_is_not_served(
    workdir: Workdir, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir.serving / "18" / NEEDED_FILES[0]).unlink()
    assert main(["history", "--json", "--workdir", str(workdir.root)]) == Exit.DONE
    runs = json.loads(capsys.readouterr().out)
    assert [run["version"] for run in runs if run["served_now"]] == ["17"]


def test_the_folder_that_was_used_last_is_meant_if_none_is_named(
    workdir: Workdir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workdir.root.parents[1])
    assert main(["history"]) == Exit.DONE
    assert "18" in capsys.readouterr().out


def test_what_came_from_the_cache_counts_for_each_run_that_took_it() -> None:
    store = memory_store()
    recorder = Recorder(store)
    outputs = recorder.measure(recorder.begin("first"), 0.5)
    recorder.run(recorder.begin("second"), EVALUATOR, *outputs, cached=True)
    assert [run.accuracy for run in read_history(store, None)] == [0.5, 0.5]


def test_a_thousand_runs_take_few_queries() -> None:
    """It is these that take the time: asking run by run would be thousands."""
    store = memory_store()
    recorder = Recorder(store)
    for number in range(1000):
        run = recorder.begin(f"run-{number}", span=number + 1)
        recorder.measure(run, 0.5)
        recorder.push(run, Path(f"/serving/{number}"))
    counted = Counted(store)
    runs = read_history(counted, "999")
    assert [run.version for run in runs] == [str(number) for number in range(1000)]
    assert [run.name for run in runs if run.served] == ["run-999"]
    assert counted.queries <= 30


def test_a_run_from_before_spans_and_intervals_were_recorded_has_none() -> None:
    store = memory_store()
    recorder = Recorder(store)
    run = recorder.begin("old")
    evaluation = recorder.artifact("ModelEvaluation", accuracy=0.5)
    recorder.run(run, EVALUATOR, evaluation, recorder.artifact("ModelBlessing"))
    (found,) = read_history(store, None)
    assert found == PastRun("old", found.began, None, 0.5, None, None, None, served=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "nothing has run there"), (b"no database", "metadata.sqlite cannot be read")],
)
def test_a_folder_without_a_store_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    if content is not None:
        Workdir(tmp_path).metadata.write_bytes(content)
    assert main(["history", "--workdir", str(tmp_path)]) != Exit.DONE
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_tensorflow_and_tfx_are_not_imported(workdir: Workdir) -> None:
    program = (
        "import sys; from pipeline.cli import main; main()\n"
        "print([name for name in ('tensorflow', 'tfx', 'scipy') if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, "history", "--workdir", str(workdir.root)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert shown.stdout.splitlines()[-1] == "[]"
