"""`submit --wait`: what is said of a run elsewhere, and the exit status that it ends with."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google.auth
import pytest
from google.api_core.exceptions import Forbidden, ServiceUnavailable, Unauthenticated
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError, TransportError
from google.cloud.aiplatform import initializer
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.types import PipelineJob
from urllib3.exceptions import HTTPError

from data.contract.errors import Exit
from pipeline.cli import main
from pipeline.cluster import waiting
from pipeline.cluster.compile_spec import as_text, compile_spec
from pipeline.cluster.places import Target
from pipeline.config import load_config
from tests.pipeline.cluster.kubeflow_server import KubeflowApi, served

Values = dict[str, Any]
Submit = Callable[..., int]

NAME = "projects/p/locations/us-central1/pipelineJobs/7"


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled pipelines."""
    folder = tmp_path_factory.mktemp("specs")
    config = load_config("tiny", overrides=["model.weights=random"])
    targets: tuple[Target, ...] = ("kubeflow", "vertex")
    for target in targets:
        places = {"image": "img:1", "root": "gs://bucket/runs", "data": "gs://bucket/data"}
        job = compile_spec(config, target, **places)
        (folder / f"{target}.json").write_text(as_text(job, ".json"))
    return folder


class Kubeflow(KubeflowApi):
    """A run of Kubeflow Pipelines: each question is answered with the next state."""

    states: list[Values | int]
    all_alike: bool
    """Whether an error is the answer to every question."""

    def known(self, path: str) -> Values | int | None:
        state = self.states[0]
        return state if self.all_alike and isinstance(state, int) else super().known(path)

    def tell(self, path: str) -> Values | int:
        assert path == "/apis/v2beta1/runs/7"
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return state if isinstance(state, int) else {"run_id": "7", **state}

    def make(self, path: str, body: Values) -> Values:
        return {"experiment_id": "1", "run_id": "7"}


def on_kubeflow(state: str, error: str = "", **tasks: str) -> Values:
    """A run in the words of its API, with the nodes of Argo that are no tasks of ours."""
    nodes = {"root": "RUNNING", "root-driver": "SUCCEEDED", "executor": "SUCCEEDED"}
    named = {name.replace("_", "-"): each for name, each in tasks.items()}
    details = [{"display_name": name, "state": each} for name, each in {**nodes, **named}.items()]
    return {
        "state": state,
        "run_details": {"task_details": details},
        **({"error": {"code": 13, "message": error}} if error else {}),
    }


@pytest.fixture(autouse=True)
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits, and nobody has credentials."""
    monkeypatch.setattr(waiting, "_SECONDS", 0.0)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)


@pytest.fixture
def kubeflow(specs: Path) -> Iterator[Submit]:
    """Submits to Kubeflow Pipelines and waits, while the run goes through given states."""
    handler = type("Handler", (Kubeflow,), {"states": []})
    with served(handler) as host:

        def submit(*states: Values | int, all_alike: bool = False) -> int:
            handler.states, handler.all_alike = [*states], all_alike  # type: ignore[attr-defined]
            file = str(specs / "kubeflow.json")
            return main(["submit", file, "--target", "kubeflow", "--host", host, "--wait"])

        yield submit


@pytest.fixture
def vertex(specs: Path, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Submits to Vertex AI and waits, while the run goes through given states."""
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(initializer.global_config, "_credentials", None)
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (anonymous, "p"))
    monkeypatch.setattr(
        "google.cloud.aiplatform.utils.gcs_utils."
        "create_gcs_bucket_for_pipeline_artifacts_if_it_does_not_exist",
        lambda **_: None,
    )

    def submit(*states: Values | Exception) -> int:
        left = [*states]

        def get(_: object, *, name: str, **others: object) -> PipelineJob:
            assert name == NAME
            state = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(state, Exception):
                raise state
            return on_vertex(**state)

        monkeypatch.setattr(
            PipelineServiceClient, "create_pipeline_job", lambda *_, **__: PipelineJob(name=NAME)
        )
        monkeypatch.setattr(PipelineServiceClient, "get_pipeline_job", get)
        file = str(specs / "vertex.json")
        return main(["submit", file, "--target", "vertex", "--project", "p", "--wait"])

    return submit


def on_vertex(state: str, error: str = "", **tasks: str) -> PipelineJob:
    details = [{"task_name": name, "state": each} for name, each in tasks.items()]
    return PipelineJob(
        name=NAME,
        state=f"PIPELINE_STATE_{state}",
        job_detail={"task_details": details},
        error={"message": error},
    )


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """What was said of tasks."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    begun = next(number for number, line in enumerate(lines) if line[0] == "run")
    return lines[begun + 1 :]


def test_the_tasks_of_kubeflow_are_shown_as_their_states_change_until_the_end(
    kubeflow: Submit, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = kubeflow(
        on_kubeflow("PENDING"),
        on_kubeflow("RUNNING", Trainer_driver="RUNNING"),
        on_kubeflow("RUNNING", Trainer_driver="SUCCEEDED", Trainer="RUNNING"),
        on_kubeflow("RUNNING", Trainer_driver="SUCCEEDED", Trainer="RUNNING"),
        on_kubeflow("RUNNING", Trainer="SUCCEEDED", Curves="RUNTIME_STATE_UNSPECIFIED"),
        on_kubeflow("SUCCEEDED", Trainer="SUCCEEDED", Pusher="SUCCEEDED"),
    )
    assert ended == Exit.DONE
    assert rows(capsys) == [
        ["Trainer", "running"],
        ["Trainer", "succeeded"],
        ["Pusher", "succeeded"],
    ]


def test_the_tasks_of_vertex_are_shown_as_their_states_change_until_the_end(
    vertex: Submit, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = vertex(
        {"state": "PENDING"},
        {"state": "RUNNING", "StatisticsGen": "SKIPPED", "Trainer": "PENDING"},
        {"state": "RUNNING", "StatisticsGen": "SKIPPED", "Trainer": "RUNNING"},
        {"state": "SUCCEEDED", "StatisticsGen": "SKIPPED", "Trainer": "SUCCEEDED"},
    )
    assert ended == Exit.DONE
    assert rows(capsys) == [
        ["StatisticsGen", "skipped"],
        ["Trainer", "pending"],
        ["Trainer", "running"],
        ["Trainer", "succeeded"],
    ]


def test_a_model_that_the_gate_blocked_on_kubeflow_is_3(
    kubeflow: Submit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kubeflow(on_kubeflow("FAILED", Verdict="SUCCEEDED", ModelGate="FAILED")) == Exit.BLOCKED
    said = capsys.readouterr().err
    assert said == "dog-emotion: ModelGate failed: see Verdict; nothing was pushed\n"


def test_a_model_that_the_gate_blocked_on_vertex_is_3(
    vertex: Submit, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = vertex({"state": "FAILED", "ModelGate": "FAILED", "Pusher": "NOT_TRIGGERED"})
    assert ended == Exit.BLOCKED
    said = capsys.readouterr().err
    assert said == "dog-emotion: ModelGate failed: see Verdict; nothing was pushed\n"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (on_kubeflow("FAILED", Trainer="FAILED"), "the run failed; Trainer failed"),
        (on_kubeflow("FAILED", Trainer_driver="FAILED"), "the run failed; Trainer failed"),
        (
            on_kubeflow("FAILED", Report="FAILED", ModelGate="FAILED"),
            "the run failed; Report, ModelGate failed",
        ),
        (on_kubeflow("FAILED", ModelGate_driver="RUNNING"), "the run failed"),
        (on_kubeflow("FAILED", ModelGate_driver="FAILED"), "the run failed; ModelGate failed"),
        (on_kubeflow("FAILED", "quota\n exceeded"), "the run failed: quota exceeded"),
        (on_kubeflow("CANCELED", Trainer="CANCELED"), "the run is canceled"),
    ],
)
def test_any_other_end_on_kubeflow_is_1_in_one_line(
    kubeflow: Submit, state: Values, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kubeflow(state) == Exit.FAILED
    assert sorted(capsys.readouterr().err.splitlines()) == [f"dog-emotion: {message}"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"state": "FAILED", "Trainer": "FAILED", "error": "out of memory"},
            "the run failed; Trainer failed: out of memory",
        ),
        ({"state": "CANCELLED", "Trainer": "CANCELLED"}, "the run is cancelled"),
    ],
)
def test_any_other_end_on_vertex_is_1_in_one_line(
    vertex: Submit, state: Values, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vertex(state) == Exit.FAILED
    assert capsys.readouterr().err.splitlines() == [f"dog-emotion: {message}"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_platform_that_is_out_of_reach_for_a_while_is_told_and_asked_again(
    kubeflow: Submit, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    running, succeeded = on_kubeflow("RUNNING"), on_kubeflow("SUCCEEDED")
    assert kubeflow(status, status, running, status, succeeded) == Exit.DONE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"dog-emotion: Kubeflow Pipelines: ({status})")
        assert line.endswith("; asking again")


@pytest.mark.parametrize("kind", [ServiceUnavailable, TransportError, HTTPError, ConnectionError])
def test_vertex_out_of_reach_for_a_while_is_told_and_asked_again(
    vertex: Submit, kind: Callable[[str], Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("no route to host")
    assert vertex(error, error, {"state": "SUCCEEDED"}) == Exit.DONE
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"dog-emotion: Vertex AI: {error}; asking again"


def test_a_platform_that_stays_out_of_reach_is_1_in_its_words(
    kubeflow: Submit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "_MOST_IN_VAIN", 3)
    assert kubeflow(503) == Exit.FAILED
    told, line = capsys.readouterr().err.splitlines()
    assert told.endswith("; asking again")
    assert line.startswith("dog-emotion: Kubeflow Pipelines: (503)")
    assert line.endswith("; the run goes on: 7")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("all_alike", [False, True])
def test_kubeflow_that_refuses_to_answer_is_1_in_one_line_at_once(
    kubeflow: Submit,
    status: int,
    all_alike: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where it is a proxy before the platform that refuses, whatever is asked."""
    assert kubeflow(on_kubeflow("RUNNING"), status, all_alike=all_alike) == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dog-emotion: Kubeflow Pipelines: ({status})")
    assert line.endswith("; the run goes on: 7")


@pytest.mark.parametrize("kind", [Unauthenticated, Forbidden, RefreshError, AttributeError])
def test_vertex_that_will_not_answer_is_1_in_one_line_at_once(
    vertex: Submit, kind: Callable[[str], Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("no access")
    assert vertex({"state": "RUNNING"}, error) == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"dog-emotion: Vertex AI: {error}; the run goes on: {NAME}"


def test_an_interruption_says_that_the_run_goes_on(
    kubeflow: Submit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert kubeflow(on_kubeflow("RUNNING")) == Exit.INTERRUPTED
    assert capsys.readouterr().err == "dog-emotion: interrupted; the run goes on: 7\n"


def test_a_pipeline_whose_end_does_not_tell_what_the_gate_said_is_not_waited_for(
    specs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = json.loads((specs / "kubeflow.json").read_text())
    gate = job["pipelineSpec"]["root"]["dag"]["tasks"]["ModelGate"]
    del gate["triggerPolicy"]
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps(job))
    assert main(["submit", str(file), "--target", "kubeflow", "--wait"]) == Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dog-emotion: {file}: --wait needs a task ModelGate that is begun for ")
    assert line.endswith("; compile it anew")
