"""What a platform gets to see of the gate: metrics, and a task that fails."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from data.contract.errors import Exit
from pipeline.cluster.compile_spec import compile_spec
from pipeline.cluster.executions import Execution, TaskError
from pipeline.cluster.gate_tasks import BlockedError, main
from pipeline.cluster.places import Target
from pipeline.cluster.run_spec import run_spec
from pipeline.cluster.spec import parse_spec
from pipeline.config import load_config

Values = dict[str, Any]

FIGURES = {"accuracy": 0.47, "accuracy_lower": 0.43, "ece": 0.05, "test_looks": 2}
PASSED = {"verdict": "passed", **FIGURES}
BLOCKED = {"verdict": "blocked: recall of each class; time for one photo", **FIGURES}

# Stands in for the tasks of TFX: says what it is told about what it makes.
TFX = """
import json, pathlib, sys
outputs = json.loads(sys.argv[1])["outputs"]
metadata = json.loads(sys.argv[2])
made = {key: {"artifacts": [{"metadata": metadata}]} for key in outputs.get("artifacts", {})}
file = pathlib.Path(outputs["outputFile"])
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(json.dumps({"artifacts": made}))
"""


@pytest.fixture(scope="module", params=get_args(Target))
def pipeline_spec(request: pytest.FixtureRequest) -> Values:
    """A compiled pipeline."""
    config = load_config("tiny", overrides=["model.weights=random"])
    places = {"image": "img:1", "root": "gs://bucket/runs", "data": "gs://bucket/data"}
    return dict(compile_spec(config, request.param, **places)["pipelineSpec"])


def rehearsed(spec: Values, evaluation: Values) -> Values:
    """The same spec with Evaluator, Report and Pusher alone, which stand-ins run."""
    kept = ("Evaluator", "Report", "Verdict", "ModelGate", "Pusher")
    tasks = {name: dict(spec["root"]["dag"]["tasks"][name]) for name in kept}
    executors = dict(spec["deploymentSpec"]["executors"])
    components = dict(spec["components"])
    for name in ("Evaluator", "Report", "Pusher"):
        tasks[name]["dependentTasks"] = [
            task for task in tasks[name].get("dependentTasks", ()) if task in kept
        ]
        tasks[name]["inputs"] = {}
        said = evaluation if name == "Evaluator" else {"pushed": 1, "pushed_destination": "/1"}
        executors[f"{name}_executor"] = {
            "container": {
                "image": "img:1",
                "command": ["python", "-c", TFX],
                "args": ["{{$}}", json.dumps(said)],
            }
        }
        components[name] = {**components[name], "inputDefinitions": {}}
    return {
        **spec,
        "components": components,
        "deploymentSpec": {"executors": executors},
        "root": {**spec["root"], "dag": {"tasks": tasks}},
    }


def run(spec: Values, folder: Path) -> dict[str, Execution]:
    data = folder / "data"
    data.mkdir()
    done = run_spec(
        parse_spec(spec, Path("spec.json")),
        root=folder / "root",
        data=data,
        commands=Path(sys.executable).parent,
        report=lambda *_: None,
    )
    return {each.task: each for each in done}


def told(metadata: Mapping[str, Any]) -> Values:
    """What is not Kubeflow Pipelines' own."""
    assert metadata.get("display_name", "metrics") == "metrics"
    own = ("display_name", "store_session_info")
    return {name: value for name, value in metadata.items() if name not in own}


def test_the_verdict_and_the_figures_are_metrics_of_the_platform(
    pipeline_spec: Values, tmp_path: Path
) -> None:
    evaluation = {**PASSED, "display_name": "evaluation"}
    done = run(rehearsed(pipeline_spec, evaluation), tmp_path)
    (metrics,) = done["Verdict"].outputs["metrics"]
    assert metrics.type.schema_title == "system.Metrics"
    assert told(dict(metrics.metadata)) == PASSED


def test_a_model_that_passes_is_pushed_without_the_gates_task(
    pipeline_spec: Values, tmp_path: Path
) -> None:
    """So that on a platform, where a lost pod fails as a task does, its failure is the verdict."""
    done = run(rehearsed(pipeline_spec, PASSED), tmp_path)
    how = {name: execution.how for name, execution in done.items()}
    assert how.pop("ModelGate") == "skipped"
    assert how == dict.fromkeys(("Evaluator", "Report", "Verdict", "Pusher"), "run")


def test_nothing_waits_for_a_task_that_is_not_always_begun(pipeline_spec: Values) -> None:
    """Argo begins only what comes after tasks that have succeeded."""
    tasks = pipeline_spec["root"]["dag"]["tasks"]
    assert tasks["ModelGate"]["triggerPolicy"]["condition"]
    assert not [
        name for name, each in tasks.items() if "ModelGate" in each.get("dependentTasks", ())
    ]


def test_a_model_that_is_blocked_fails_the_run_once_its_verdict_and_report_are_there(
    pipeline_spec: Values, tmp_path: Path
) -> None:
    with pytest.raises(BlockedError, match="the gate blocked the model; nothing was pushed"):
        run(rehearsed(pipeline_spec, BLOCKED), tmp_path)
    folder = tmp_path / "root" / "runs" / "1"
    published = json.loads((folder / "Verdict" / "execution.json").read_text())["outputs"]
    assert told(published["metrics"][0]["metadata"]) == BLOCKED
    assert (folder / "Report" / "execution.json").is_file()
    log = (folder / "ModelGate" / "task.log").read_text()
    assert log == "the gate: blocked: recall of each class; time for one photo\n"


def test_a_gate_that_cannot_tell_is_a_failure_and_no_verdict(
    pipeline_spec: Values, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match="task Verdict failed with status 1"):
        run(rehearsed(pipeline_spec, FIGURES), tmp_path)


def test_both_are_told_anew_in_every_run(pipeline_spec: Values) -> None:
    tasks = pipeline_spec["root"]["dag"]["tasks"]
    for name in ("Verdict", "ModelGate"):
        assert not tasks[name]["cachingOptions"]["enableCache"]


def test_the_folder_of_the_output_file_is_made(tmp_path: Path) -> None:
    """As the client of Kubeflow Pipelines does, which Vertex AI counts on."""
    file = tmp_path / "gcs" / "bucket" / "executor_output.json"
    metrics = {"name": "1", "uri": "gs://bucket/metrics", "type": {"schemaTitle": "system.Metrics"}}
    invocation = {
        "inputs": {"artifacts": {"evaluation": {"artifacts": [{"metadata": PASSED}]}}},
        "outputs": {
            "artifacts": {"metrics": {"artifacts": [metrics]}},
            "outputFile": str(file),
        },
    }
    assert main(["Verdict", json.dumps(invocation)]) == Exit.DONE
    said = json.loads(file.read_text())
    assert said["parameterValues"] == {"verdict": "passed"}
    (made,) = said["artifacts"]["metrics"]["artifacts"]
    assert made == {**metrics, "metadata": PASSED}
