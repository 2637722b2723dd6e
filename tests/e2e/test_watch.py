"""`dog-emotion watch` over a real run, which is killed and goes on."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from data.drawn_dogs import draw_dataset
from pipeline.workdir import Workdir, WorkdirError
from tests.pipeline.runs import ANY_MODEL
from tests.serving.conftest import wait_for

Command = Callable[..., subprocess.CompletedProcess[str]]


def is_free(workdir: Workdir) -> bool:
    try:
        with workdir.locked():
            return True
    except WorkdirError:
        return False


@pytest.mark.slow
def test_a_watch_that_is_killed_in_a_run_goes_on_with_that_run(
    run: Command, dog_emotion: str, offline: Mapping[str, str], tmp_path: Path
) -> None:
    photos, workdir = tmp_path / "dogs", Workdir(tmp_path / "run")
    draw_dataset(photos, per_class=40, seed=0)
    words = ["watch", str(photos), f"--workdir={workdir.root}", "--profile=tiny", "--settled=1"]
    words += [f"--set={setting}" for setting in ANY_MODEL]
    time.sleep(1.5)
    watch = subprocess.Popen(
        [dog_emotion, *words], env=dict(offline), stdout=subprocess.DEVNULL, text=True
    )
    with watch:
        epochs = "pipeline/Trainer/*/unfinished/*/*/epoch-*[0-9]"
        wait_for(lambda: list(workdir.root.glob(epochs)), seconds=600)
        watch.send_signal(signal.SIGKILL)
    wait_for(lambda: is_free(workdir))  # the run has ended with it
    assert not list(workdir.serving.glob("*"))

    again = run(*words, "--once", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "going on after epoch" in again.stdout
    assert len(list(workdir.data.glob("span-*"))) == 1
    assert len(list(workdir.serving.glob("[0-9]*"))) == 1

    idle = run(*words, "--once", cwd=tmp_path)
    assert (idle.returncode, idle.stdout) == (0, "")
