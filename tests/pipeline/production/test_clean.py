"""`clean`: what goes, what stays, and what is left when it is killed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from data.contract.errors import Exit
from data.contract.nodes import ACTIVATION_CACHE, TRAINER
from pipeline.cli import main
from pipeline.commands import production as commands
from pipeline.config import ServingSettings, load_config
from pipeline.outputs import PIPELINE_RUN, open_store, read_outputs
from pipeline.production.blessing import record_push
from pipeline.workdir import hold
from tests.pipeline.lineage.stores import Recorder
from tests.pipeline.production.folders import make_workdir

ROOT = Path(__file__).parents[3]
VERSIONS = (16, 17, 18, 19, 20)


class Made:
    """Five runs that each pushed a version, 16 to 20, the first the best one; 18 was stable before
    19, which is."""

    def __init__(self, root: Path, keep: int) -> None:
        self.workdir = make_workdir(root, *VERSIONS)
        config = load_config().model_copy(update={"serving": ServingSettings(keep=keep)})
        self.workdir.store_config(config)
        store = open_store(self.workdir.metadata)
        self.recorder = recorder = Recorder(store)
        for number, version in enumerate(VERSIONS, start=1):
            run = recorder.begin(f"run-{version}", span=number)
            activations = self._artifact(recorder, "Examples", ACTIVATION_CACHE, number)
            recorder.run(run, ACTIVATION_CACHE, activations)
            model = self._artifact(recorder, "Model", TRAINER, number)
            recorder.run(run, TRAINER, model)
            recorder.measure(run, 0.9 if version == VERSIONS[0] else 0.5, read={"model": model})
            recorder.push(run, self.workdir.serving / str(version), model)
        # Killed, before the newest run.
        (self.workdir.pipeline_root / "Trainer" / "model_run" / "7").mkdir(parents=True)
        self.command("promote", "18")
        self.command("promote", "19")

    def _artifact(self, recorder: Recorder, kind: str, node: str, number: int) -> mlmd.Artifact:
        key = "activations" if node == ACTIVATION_CACHE else "model"
        folder = self.workdir.pipeline_root / node / key / str(number)
        folder.mkdir(parents=True)
        for name in ("a", "b"):
            (folder / name).write_text(name * 1000)
        artifact = recorder.artifact(kind, str(folder))
        artifact.state = mlmd.Artifact.LIVE
        return artifact

    def command(self, *arguments: str) -> int:
        return main([*arguments, "--workdir", str(self.workdir.root)])

    @property
    def versions(self) -> list[int]:
        return sorted(int(each.name) for each in self.workdir.serving.iterdir())

    def artifacts(self, node: str) -> dict[str, bool]:
        """Those of a node that are there, by number, and whether MLMD takes them for existing."""
        store = open_store(self.workdir.metadata)
        live = {each.uri for each in store.get_artifacts() if each.state == mlmd.Artifact.LIVE}
        folders = self.workdir.pipeline_root.glob(f"{node}/*/*")
        return {each.name: str(each) in live for each in sorted(folders)}


@pytest.fixture
def keep() -> int:
    return 1


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int) -> Made:
    monkeypatch.setattr(commands, "print_check", lambda version: True)
    monkeypatch.setattr(commands, "_require_no_break", lambda *arguments: None)
    monkeypatch.setattr(commands, "_WAIT", 0)
    return Made(tmp_path / "run", keep)


@pytest.mark.parametrize(("keep", "versions"), [(0, [19, 20]), (1, [18, 19, 20])])
def test_what_was_stable_before_stays_as_long_as_was_asked(made: Made, versions: list[int]) -> None:
    """And what is stable, and the newest one, which servers take that follow no file."""
    assert made.command("clean", "--yes") == Exit.DONE
    assert made.versions == versions


def test_a_canary_stays(made: Made) -> None:
    made.command("canary", "16")
    assert made.command("clean", "--yes") == Exit.DONE
    assert made.versions == [16, 18, 19, 20]


def test_what_no_kept_version_was_made_of_goes_and_mlmd_knows(made: Made) -> None:
    assert made.command("clean", "--yes") == Exit.DONE
    assert made.artifacts(ACTIVATION_CACHE) == {"3": True, "4": True, "5": True}
    # The best model stays too, because the gate compares with it; what was never finished goes.
    assert made.artifacts(TRAINER) == {"1": True, "3": True, "4": True, "5": True}
    assert made.command("rollback") == Exit.DONE


@pytest.mark.parametrize("spelling", ["run/../run", "link"])
def test_a_workdir_by_another_name_loses_no_more(made: Made, spelling: str) -> None:
    parent = made.workdir.root.parent
    (parent / "link").symlink_to(made.workdir.root)
    assert main(["clean", "--yes", "--workdir", str(parent / spelling)]) == Exit.DONE
    assert made.artifacts(ACTIVATION_CACHE) == {"3": True, "4": True, "5": True}
    assert made.artifacts(TRAINER) == {"1": True, "3": True, "4": True, "5": True}


def test_a_copy_of_a_workdir_is_refused(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The metadata in it is about the original."""
    copy = made.workdir.root.with_name("copy")
    shutil.copytree(made.workdir.root, copy)
    capsys.readouterr()
    assert main(["clean", "--yes", "--workdir", str(copy)]) == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be moved" in line
    assert sorted(int(each.name) for each in (copy / "serving/dog_emotion").iterdir()) == [
        *VERSIONS
    ]


def test_what_the_newest_whole_run_made_stays_though_an_older_one_was_blessed(made: Made) -> None:
    """And the newest run of all, which was killed, has made little."""
    store = open_store(made.workdir.metadata)
    first, *_ = store.get_contexts_by_type(PIPELINE_RUN)
    outputs = read_outputs(store, first)
    record_push(store, first, outputs, str(made.workdir.serving / "16"))
    Recorder(store).begin("killed", span=6)
    # Not kept for a version: that of the newest whole run is gone.
    shutil.rmtree(made.workdir.serving / "20")
    assert made.command("clean", "--yes") == Exit.DONE
    assert made.artifacts(ACTIVATION_CACHE) == {"3": True, "4": True, "5": True}


def test_of_the_models_that_are_left_the_best_stays(made: Made) -> None:
    """Though one that was removed would be better than what it is on newer test photos."""
    made.command("clean", "--yes")
    store = open_store(made.workdir.metadata)
    for model in store.get_artifacts_by_type("Model"):
        if model.state == mlmd.Artifact.LIVE:
            accuracy = 0.4 if model.uri.endswith("/1") else 0.3
            run = made.recorder.begin(model.uri, span=6)
            made.recorder.measure(run, accuracy, read={"model": model})
    assert made.command("clean", "--yes") == Exit.DONE
    assert made.artifacts(TRAINER) == {"1": True, "3": True, "4": True, "5": True}


def test_of_hidden_folders_only_those_of_killed_commands_go_and_by_name(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    serving = made.workdir.serving
    for name in (".unfinished", ".going-3", ".snapshots"):
        (serving / name).mkdir()
    capsys.readouterr()
    assert made.command("clean", "--yes") == Exit.DONE
    said = capsys.readouterr().out
    assert [name in said for name in (".unfinished", ".going-3", ".snapshots")] == [
        True,
        True,
        False,
    ]
    assert [each.name for each in serving.glob(".*")] == [".snapshots"]


def test_it_says_what_would_go_and_how_much(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert made.command("clean", "--dry-run") == Exit.DONE
    said = capsys.readouterr().out
    for words in ("MB  version 17", "MB  activations 2 of ActivationCache", "kept: 18, 19, 20"):
        assert words in said
    assert made.versions == list(VERSIONS)
    assert made.command("clean") == Exit.USAGE
    assert "add --yes" in capsys.readouterr().err
    assert made.versions == list(VERSIONS)


def test_it_asks_on_a_terminal(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, versions in (("n", list(VERSIONS)), ("y", [18, 19, 20])):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        assert made.command("clean") == Exit.DONE
        assert made.versions == versions


def test_it_stays_away_while_something_runs(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    for lock in (made.workdir.root / ".lock", made.workdir.serving.parent / ".lock"):
        with hold(lock, "busy"):
            assert made.command("clean", "--yes") == Exit.FAILED
        assert "wait for it" in capsys.readouterr().err
    assert made.versions == list(VERSIONS)


def test_a_kill_leaves_each_thing_whole_or_gone(made: Made) -> None:
    kills = [sys.executable, "-m", "tests.pipeline.production.kills", str(made.workdir.root)]
    done = subprocess.run(
        [*kills, "clean", "--yes", "then", "clean", "--yes"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    *killed, whole = json.loads(done.stdout)
    assert whole["ended"] == Exit.DONE
    assert len(killed) >= 20
    artifacts = whole["state"]["artifacts"]
    for each in killed:
        left: dict[str, Any] = each["state"]
        assert {"18", "19", "20"} <= left["versions"].keys()
        assert all("saved_model.pb" in files for files in left["versions"].values())
        assert all("variables.index" in files for files in left["versions"].values())
        assert left["labels"] == {"stable": 19}
        for uri, (state, files) in left["artifacts"].items():
            assert files in ([], ["a", "b"])
            assert state == "DELETED" or files
            if artifacts[uri][0] == "LIVE":
                assert (state, files) == ("LIVE", ["a", "b"])
        # The next one does the rest.
        assert each["then"] == Exit.DONE
        assert each["after"]["versions"] == whole["state"]["versions"]
        assert each["after"]["artifacts"] == artifacts
