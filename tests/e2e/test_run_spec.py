"""Compiled pipelines, run task by task in the image's environment, from records to an answer."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.drawn_dogs import draw_dataset

Result = subprocess.CompletedProcess[str]
Command = Callable[..., Result]

ROOT = Path(__file__).parents[2]
PLACES = ("--image=image", "--root=gs://bucket/runs", "--data=gs://bucket/records")
TINY = ("--profile=tiny", "--set=gate.over_majority=-1")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(run: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn photos and their records; the image's environment is ready.

    It is made here because `run` has no internet.
    """
    install = [sys.executable, f"{ROOT}/requirements/install.py", f"--image={ROOT}/.venv-image"]
    subprocess.run(install, check=True)
    home = tmp_path_factory.mktemp("home")
    draw_dataset(home / "photos", per_class=40, seed=0)
    made = run("data", "photos", "--out", "records", cwd=home)
    assert made.returncode == 0, made.stderr
    return home


@pytest.fixture(scope="module")
def compiled(run: Command, home: Path) -> Callable[..., str]:
    """Compiles to a file with a given name."""

    def compiled(file: str, target: str, *options: str) -> str:
        done = run(
            "compile", f"--target={target}", *PLACES, *TINY, *options, f"--out={file}", cwd=home
        )
        assert done.returncode == 0, done.stderr
        return file

    return compiled


@pytest.fixture(scope="module")
def run_spec(run: Command, home: Path) -> Callable[[str, str], Result]:
    """Runs a spec with a given root."""

    def run_spec(file: str, root: str) -> Result:
        return run("run-spec", file, f"--root={root}", "--data=records", cwd=home)

    return run_spec


@pytest.fixture(scope="module")
def first(compiled: Callable[..., str], run_spec: Callable[[str, str], Result]) -> Result:
    return run_spec(compiled("vertex.json", "vertex"), "vertex")


@pytest.fixture(scope="module")
def second(
    first: Result, compiled: Callable[..., str], run_spec: Callable[[str, str], Result]
) -> Result:
    """The same records, trained with another seed."""
    return run_spec(compiled("seed.yaml", "vertex", "--set=training.seed=1"), "vertex")


def rows(result: Result) -> dict[str, str]:
    """What was printed about each task."""
    lines = [line.split(maxsplit=2) for line in result.stdout.splitlines() if "/1" in line[:8]]
    return {task: said for _, task, said in lines}


def versions(root: Path) -> list[Path]:
    return sorted((root / "serving" / "dog_emotion").glob("[0-9]*"))


def execution(root: Path, run: int, task: str) -> Any:
    return json.loads((root / "runs" / str(run) / task / "execution.json").read_text())


def test_a_spec_for_vertex_runs_through_to_a_model_that_answers(
    first: Result, run: Command, home: Path
) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    assert len(rows(first)) == 17
    (version,) = versions(home / "vertex")
    assert first.stdout.splitlines()[-1] == f"model   {version}"
    answer = run("predict", "--json", f"--model={version}", "photos/happy/happy-0000.jpg", cwd=home)
    assert answer.returncode == 0, answer.stderr
    assert set(json.loads(answer.stdout)[0]["probabilities"]) == {
        "angry",
        "happy",
        "relaxed",
        "sad",
    }


def test_the_tasks_see_the_built_wheel_and_not_the_checkout(first: Result, home: Path) -> None:
    python = ROOT / ".venv-image" / "bin" / "python"
    program = "import components, pipeline; print(components.__file__, pipeline.__file__)"
    shown = subprocess.run(
        [python, "-c", program], cwd=home, capture_output=True, text=True, check=True
    )
    for file in shown.stdout.split():
        assert Path(file).is_relative_to(ROOT / ".venv-image")
    logs = [*(home / "vertex" / "runs" / "1").glob("*/task.log")]
    # Neither the two resolvers nor ModelGate have one.
    assert len(logs) == 14
    assert not [log for log in logs if f"{ROOT}/components" in log.read_text(errors="replace")]


def test_a_second_run_trains_again_and_is_measured_against_the_blessed_model(
    second: Result, home: Path
) -> None:
    assert second.returncode in (0, 3), second.stdout + second.stderr
    said = rows(second)
    assert said["LatestBlessedModel-model-resolver"] == "found 1/Trainer/model"
    cached = {task for task, what in said.items() if what == "cached"}
    assert {"ImportExampleGen", "Transform", "ActivationCache"} < cached
    assert not {"Trainer", "Evaluator"} & cached
    (blessing,) = execution(home / "vertex", 2, "Evaluator")["outputs"]["blessing"]
    assert blessing["metadata"]["baseline_model_id"] == "1/Trainer/model"
    assert len(versions(home / "vertex")) == (2 if second.returncode == 0 else 1)


def test_on_kubeflow_the_newest_version_is_the_baseline_and_an_unchanged_span_is_cached(
    compiled: Callable[..., str], run_spec: Callable[[str, str], Result], home: Path
) -> None:
    file = compiled("kubeflow.json", "kubeflow")
    for number in (1, 2):
        done = run_spec(file, "kubeflow")
        assert done.returncode == 0, done.stdout + done.stderr
        metadata = execution(home / "kubeflow", number, "Evaluator")["outputs"]["blessing"][0]
        has_baseline = "baseline_model_id" in metadata["metadata"]
        assert has_baseline == (number == 2)
    assert len(versions(home / "kubeflow")) in (1, 2)
    said = rows(done)
    cached = {task for task, what in said.items() if what == "cached"}
    assert cached >= {"ImportExampleGen", "Transform", "ActivationCache", "Trainer"}
    assert not cached & {"NewestSpan", "LatestPushedModel", "Evaluator", "Pusher"}
    (examples,) = execution(home / "kubeflow", 1, "ImportExampleGen")["outputs"]["examples"]
    assert examples["metadata"]["span"] == 1
    assert "num_files" in examples["metadata"]["input_fingerprint"]


def test_a_gate_that_blocks_pushes_nothing_and_says_so(
    first: Result, compiled: Callable[..., str], run_spec: Callable[[str, str], Result], home: Path
) -> None:
    before = versions(home / "vertex")
    done = run_spec(compiled("gate.json", "vertex", "--set=gate.accuracy_floor=1"), "vertex")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "the gate blocked the model" in done.stderr
    assert versions(home / "vertex") == before


def test_a_task_that_fails_is_named_with_the_end_of_its_log(
    first: Result, run_spec: Callable[[str, str], Result], home: Path
) -> None:
    text = (home / "vertex.json").read_text()
    (home / "broken.json").write_text(
        text.replace("components.nodes.pusher.", "components.missing.")
    )
    done = run_spec("broken.json", "vertex")
    assert done.returncode == 1
    assert "task Pusher failed with status 1" in done.stderr
    assert f"the end of {home}/vertex/runs/" in done.stderr
    assert "components.missing" in done.stderr
