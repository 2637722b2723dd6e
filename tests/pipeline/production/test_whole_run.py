"""`bless` and `clean` on what real runs have left, and what a run promotes."""

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.contract.errors import Exit
from data.drawn_dogs import draw_dataset
from pipeline.cli import main
from pipeline.commands import production as commands
from pipeline.outputs import open_store
from pipeline.production.cleaning import find_waste
from pipeline.production.production import Production
from pipeline.workdir import Workdir
from tests.pipeline.production.folders import make_workdir
from tests.pipeline.runs import ANY_MODEL, again, run_tiny

REASON = "the other classes come on Monday"


def test_a_blocked_model_is_blessed_promoted_compared_with_and_cleaned_up_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, workdir = tmp_path / "photos", Workdir(tmp_path / "run")
    draw_dataset(photos, per_class=20, seed=0)
    where = ["--workdir", str(workdir.root)]

    # The gate blocks a model, and a person pushes it.
    assert run_tiny(workdir.root, photos, "gate.accuracy_floor=1").model is None
    capsys.readouterr()
    assert main(["history", "--json", *where]) == Exit.DONE
    (blocked,) = json.loads(capsys.readouterr().out)
    assert not blocked["pushed"]
    bless = ["bless", blocked["run"], "--reason", REASON, *where]
    assert main(bless) == Exit.USAGE
    assert main([*bless, "--force"]) == Exit.DONE
    assert "serving   it answers at once" in capsys.readouterr().out
    assert main([*bless, "--force"]) == Exit.FAILED
    assert "has pushed its model" in capsys.readouterr().err
    assert main(["history", "--json", *where]) == Exit.DONE
    (blessed,) = json.loads(capsys.readouterr().out)
    version = blessed["version"]
    assert blessed["verdict"].startswith("blocked")
    assert [(each["command"], each["why"]) for each in blessed["production"]] == [("bless", REASON)]
    assert main(["why", version, *where]) == Exit.DONE
    assert REASON in capsys.readouterr().out
    assert main(["promote", *where]) == Exit.DONE

    # To the next run it is the model that was pushed last.
    changed = [*ANY_MODEL, "training.seed=7", "serving.keep=0"]
    newest = str(run_tiny(workdir.root, photos, *changed).model).rpartition("/")[2]
    capsys.readouterr()
    assert main(["why", newest, "--json", *where]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["baseline"] == version

    # What was made for it stays as long as it is in production.
    store = open_store(workdir.metadata)
    assert not find_waste(workdir, store, {int(version), int(newest)})
    assert main(["promote", *where, "--wait", "0"]) == Exit.DONE
    waste = find_waste(workdir, store, {int(newest)})
    assert f"version {version}" in {each.what for each in waste}
    assert {each.what.split()[0] for each in waste} >= {"version", "model_run"}
    assert main(["clean", "--yes", *where]) == Exit.DONE
    assert [each.name for each in workdir.serving.iterdir()] == [newest]
    assert not any(each.folder.exists() for each in waste)
    assert not find_waste(workdir, store, {int(newest)})
    assert main(["why", version, *where]) == Exit.DONE  # all that was known is known still

    # Nothing of the newest run has to be made again.
    assert not again(run_tiny(workdir.root, photos, *changed)) & {"ActivationCache", "Trainer"}


class Promoting:
    """A run that has pushed a version, or found it pushed already, and promotes it."""

    def __init__(self, workdir: Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workdir = workdir
        self.version = 0
        monkeypatch.setattr("pipeline.local_runner.run_locally", self._run)
        monkeypatch.setattr("pipeline.summary.as_text", lambda summary: "")
        monkeypatch.setattr(commands, "print_check", lambda version: True)
        monkeypatch.setattr(commands, "_require_no_break", lambda *arguments: None)
        monkeypatch.setattr(commands, "_WAIT", 0)

    def _run(self, *arguments: object) -> SimpleNamespace:
        return SimpleNamespace(model=self.workdir.serving / str(self.version), tuned=None)

    def __call__(self, version: int, promote: str = "true") -> int:
        self.version = version
        run = ["run", "--profile", "tiny", "--workdir", str(self.workdir.root)]
        return main([*run, "--set", f"serving.promote={promote}"])

    @property
    def labels(self) -> dict[str, int] | None:
        found = Production(self.workdir).labels
        return None if found is None else dict(found)


@pytest.fixture
def promoting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Promoting:
    """In a folder with versions 17 to 19."""
    return Promoting(make_workdir(tmp_path / "run", 17, 18, 19), monkeypatch)


@pytest.mark.parametrize(("promote", "labels"), [("true", {"stable": 17}), ("false", None)])
def test_a_run_promotes_what_it_has_pushed_if_it_is_told_to(
    promoting: Promoting, promote: str, labels: dict[str, int] | None
) -> None:
    assert promoting(17, promote) == Exit.DONE
    assert promoting.labels == labels
    told = [each.why for each in Production(promoting.workdir).history()]
    assert told == ["serving.promote"] * bool(labels)


def test_a_run_of_unchanged_photos_leaves_a_rollback_alone(
    promoting: Promoting, capsys: pytest.CaptureFixture[str]
) -> None:
    promoting(17)
    promoting(18)
    assert main(["rollback", "--workdir", str(promoting.workdir.root)]) == Exit.DONE
    capsys.readouterr()
    assert promoting(18) == Exit.DONE
    assert promoting.labels == {"stable": 17}
    assert "`dog-emotion promote 18`" in capsys.readouterr().err
    assert promoting(19) == Exit.DONE
    assert promoting.labels == {"stable": 19}


def test_a_run_waits_for_a_command_that_is_changing_something(promoting: Promoting) -> None:
    held = threading.Event()

    def other() -> None:
        with Production(promoting.workdir).locked():
            held.set()
            time.sleep(2)

    command = threading.Thread(target=other)
    command.start()
    held.wait()
    assert promoting(17) == Exit.DONE
    command.join()
    assert promoting.labels == {"stable": 17}
