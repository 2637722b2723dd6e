"""Trainer and Pusher on Vertex AI, with stand-ins for its services."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud import aiplatform
from google.cloud.aiplatform import gapic
from google.cloud.aiplatform_v1.types.job_state import JobState
from tfx.extensions.google_cloud_ai_platform import training_clients
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.nodes.vertex import serving_config, training_config
from components.training.history import read_history
from pipeline.config import Config, Resources, VertexSettings
from tests.components.training.one_machine import free_address

Artifact = Any
Job = Callable[[gapic.CustomJob], None]

ROOT = Path(__file__).parents[3]
LONGEST = 600
"""Seconds that the machines of a job may take."""
WHERE: dict[str, Any] = {"project": "p", "region": "europe-west4"}
WEIGHTS = {"source": "efficientnet.h5", "sha256": "5" * 64}
SUCCEEDED, FAILED = JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED


@pytest.fixture
def on_vertex(config: Config) -> Config:
    settings = VertexSettings(**WHERE, training_machine="n1-highmem-8", endpoint="dogs")
    resources = {"Trainer": Resources(gpu=2, gpu_type="NVIDIA_TESLA_T4")}
    return config.model_copy(update={"vertex": settings, "resources": resources})


@pytest.mark.parametrize(("gpu", "gpu_type"), [(0, None), (1, "NVIDIA_TESLA_T4")])
def test_a_custom_job_has_the_form_that_vertex_takes(gpu: int, gpu_type: str | None) -> None:
    config = training_config(
        **WHERE, image="img:1", machine="n1-standard-8", gpu=gpu, gpu_type=gpu_type
    )
    assert config["ai_platform_vertex_region"] == "europe-west4"
    assert json.loads(json.dumps(config)) == config
    arguments = config["ai_platform_training_args"]
    assert arguments["project"] == "p"
    (pool,) = gapic.CustomJobSpec(**arguments["job_spec"]).worker_pool_specs
    assert pool.machine_spec.machine_type == "n1-standard-8"
    assert pool.machine_spec.accelerator_count == gpu
    assert pool.machine_spec.accelerator_type.name == (gpu_type or "ACCELERATOR_TYPE_UNSPECIFIED")
    assert pool.replica_count == 1
    assert pool.container_spec.image_uri == "img:1"


def test_several_machines_are_a_chief_and_its_workers_all_alike() -> None:
    config = training_config(
        **WHERE, image="img:1", machine="m", gpu=1, gpu_type="NVIDIA_TESLA_T4", replicas=4
    )
    arguments = config["ai_platform_training_args"]
    chief, workers = gapic.CustomJobSpec(**arguments["job_spec"]).worker_pool_specs
    assert (chief.replica_count, workers.replica_count) == (1, 3)
    assert chief.machine_spec == workers.machine_spec
    assert chief.container_spec == workers.container_spec


def option(job: gapic.CustomJob, name: str) -> str:
    """What the command in the job is told."""
    pool, *_ = job.job_spec.worker_pool_specs
    command = list(pool.container_spec.command)
    return str(command[command.index(name) + 1])


def leave_summary(job: gapic.CustomJob) -> None:
    """What name_weights needs from a training."""
    (run,) = artifact_utils.parse_artifact_dict(option(job, "--outputs"))["model_run"]
    summary = {"backbone": "efficientnet_b0", "weights": WEIGHTS}
    Path(run.uri, "training.json").write_text(json.dumps(summary))


def leave_nothing(_: gapic.CustomJob) -> None:
    """The job had no time to."""


class Jobs(list[tuple[str, gapic.CustomJob]]):
    """The jobs that were created; each is done at once."""

    endpoint = ""
    run: Job = staticmethod(leave_summary)
    state = SUCCEEDED

    def client(self, *, client_options: dict[str, str]) -> "Jobs":
        self.endpoint = client_options["api_endpoint"]
        return self

    def create_custom_job(self, *, parent: str, custom_job: dict[str, Any]) -> Any:
        job = gapic.CustomJob(**custom_job)
        self.append((parent, job))
        type(self).run(job)
        return SimpleNamespace(name=f"{parent}/customJobs/{len(self)}")

    def get_custom_job(self, *, name: str, retry: object) -> Any:
        assert name == f"{self[-1][0]}/customJobs/{len(self)}"
        return SimpleNamespace(state=self.state)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The service for custom jobs."""
    jobs = Jobs()
    monkeypatch.setattr(training_clients.gapic, "JobServiceClient", jobs.client)
    return jobs


@pytest.fixture
def inputs(new_artifact: Any) -> dict[str, Artifact]:
    return {
        "examples": new_artifact(standard_artifacts.Examples),
        "transform_graph": new_artifact(standard_artifacts.TransformGraph),
    }


def test_the_trainer_trains_in_a_custom_job_with_our_executor(
    run_node: Any, inputs: dict[str, Artifact], on_vertex: Config, jobs: Jobs
) -> None:
    outputs = run_node("Trainer", inputs, config=on_vertex)
    ((parent, job),) = jobs
    assert jobs.endpoint == "europe-west4-aiplatform.googleapis.com"
    assert parent == "projects/p/locations/europe-west4"
    (pool,) = job.job_spec.worker_pool_specs
    assert pool.machine_spec.machine_type == "n1-highmem-8"
    assert pool.machine_spec.accelerator_count == 2
    assert list(pool.container_spec.command)[:3] == ["python", "-m", "tfx.scripts.run_executor"]
    assert option(job, "--executor_class_path") == "components.nodes.trainer.TrainerExecutor"
    told = artifact_utils.parse_artifact_dict(option(job, "--inputs"))
    assert told["examples"][0].uri == inputs["examples"].uri
    made = artifact_utils.parse_artifact_dict(option(job, "--outputs"))
    assert made["model"][0].uri == outputs["model"].uri
    properties = json.loads(option(job, "--exec-properties"))
    assert properties["run_fn"] == "components.nodes.trainer.run_fn"
    assert json.loads(properties["custom_config"])["classes"] == list(on_vertex.classes)


def named(model: Artifact) -> list[str]:
    keys = ("backbone", "weights_source", "weights_sha256")
    return [model.get_string_custom_property(key) for key in keys]


def test_the_model_says_where_the_weights_of_the_job_come_from(
    run_node: Any, inputs: dict[str, Artifact], on_vertex: Config, jobs: Jobs
) -> None:
    outputs = run_node("Trainer", inputs, config=on_vertex)
    assert named(outputs["model"]) == ["efficientnet_b0", WEIGHTS["source"], WEIGHTS["sha256"]]


def test_a_job_that_fails_fails_the_node(
    run_node: Any,
    inputs: dict[str, Artifact],
    on_vertex: Config,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Jobs, "run", staticmethod(leave_nothing))
    monkeypatch.setattr(Jobs, "state", FAILED)
    with pytest.raises(RuntimeError, match=r"customJobs/1.* did not succeed"):
        run_node("Trainer", inputs, config=on_vertex)


def run_job(job: gapic.CustomJob) -> None:
    """Runs what the job says on each machine, with the TF_CONFIG that Vertex AI sets."""
    pools = zip(("chief", "worker"), job.job_spec.worker_pool_specs, strict=False)
    commands = {kind: list(pool.container_spec.command) for kind, pool in pools}
    cluster = {kind: [free_address()] for kind in commands}
    with ExitStack() as stack:
        processes = []
        for kind, (python, *command) in commands.items():
            assert python == "python"
            task = {"type": kind, "index": 0}
            config = {"cluster": cluster, "task": task, "environment": "cloud"}
            variables = {"PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(config)}
            process = subprocess.Popen([sys.executable, *command], env=os.environ | variables)
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        assert [process.wait(LONGEST) for process in processes] == [0] * len(commands)


@pytest.mark.slow
@pytest.mark.parametrize(("replicas", "mode"), [(1, "cached"), (2, "cached"), (2, "on_the_fly")])
def test_the_command_of_the_job_trains_and_exports(
    run_node: Any,
    activations: Artifact,
    examples: Artifact,
    transform_graph: Artifact,
    on_vertex: Config,
    jobs: Jobs,
    monkeypatch: pytest.MonkeyPatch,
    replicas: int,
    mode: str,
) -> None:
    monkeypatch.setattr(Jobs, "run", staticmethod(run_job))
    epoch = {"epochs": 1, "learning_rate": 0.01}
    source = activations if mode == "cached" else examples
    training = on_vertex.training.model_dump() | {
        "augmentation": {"mode": mode},
        "batch_size": 67,  # the last batch holds one photo, which only one machine gets
        "frozen": epoch,
        "unfrozen": epoch,
        "refit": replicas > 1,
    }
    assert on_vertex.vertex
    vertex = on_vertex.vertex.model_copy(update={"training_replicas": replicas})
    config = on_vertex.model_copy(
        update={"training": type(on_vertex.training).model_validate(training), "vertex": vertex}
    )
    inputs = {"examples": source, "transform_graph": transform_graph}
    outputs = run_node("Trainer", inputs, config=config)
    assert len(jobs) == 1
    assert named(outputs["model"]) == ["tiny", "random", "none"]
    model = Path(path_utils.serving_model_dir(outputs["model"].uri))
    assert (model / "saved_model.pb").is_file()
    run = Path(outputs["model_run"].uri)
    phases = [phase.name for phase in read_history(run / "history.csv")]
    assert phases == ["frozen", "unfrozen"]
    (_,) = (run / "tensorboard" / "unfrozen" / "train").iterdir()  # of one machine


class Endpoint:
    """An endpoint and what is deployed there, by its id and with its share of the requests."""

    def __init__(self, name: str) -> None:
        self.resource_name = name
        self.traffic_split: dict[str, int] = {}
        self.idle: list[str] = []
        """Deployed, and not mentioned by the split."""

    def deploy(self, percentage: int) -> None:
        assert percentage == 100
        before = dict.fromkeys(self.traffic_split, 0)
        self.traffic_split = {**before, str(len(before) + 1): percentage}

    def list_models(self) -> list[Any]:
        return [SimpleNamespace(id=each) for each in (*self.traffic_split, *self.idle)]

    def undeploy(self, deployed_model_id: str) -> None:
        """As the client: not what gets all requests."""
        assert not self.traffic_split.pop(deployed_model_id, 0)
        self.idle = [each for each in self.idle if each != deployed_model_id]


class Endpoints(dict[str, Endpoint]):
    """The endpoints that exist, by display name."""

    def list(self, *, filter: str, **where: str) -> Any:
        assert where in ({}, {"project": "p", "location": "europe-west4"})
        return [each for name, each in self.items() if filter == f'display_name="{name}"']

    def create(self, *, display_name: str, labels: dict[str, str]) -> None:
        self[display_name] = Endpoint(display_name)


@pytest.fixture
def endpoints() -> Endpoints:
    return Endpoints()


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, endpoints: Endpoints) -> list[Any]:
    """What is uploaded and deployed, as the client understands it."""
    calls: list[Any] = []
    deploy, upload = (
        inspect.signature(method) for method in (aiplatform.Model.deploy, aiplatform.Model.upload)
    )

    def uploaded(**given: Any) -> Any:
        calls.append(upload.bind(**given).arguments)
        return SimpleNamespace(
            resource_name="projects/1/models/2",
            wait=lambda: None,
            deploy=lambda **how: deploy_to(deploy.bind(None, **how).arguments),
        )

    def deploy_to(how: dict[str, Any]) -> None:
        calls.append(how)
        how["endpoint"].deploy(how["traffic_percentage"])

    monkeypatch.setattr(aiplatform, "init", lambda **given: calls.append(given))
    monkeypatch.setattr(aiplatform.Endpoint, "list", endpoints.list)
    monkeypatch.setattr(aiplatform.Endpoint, "create", endpoints.create)
    monkeypatch.setattr(aiplatform.Model, "upload", uploaded)
    return calls


@pytest.fixture
def push(run_node: Any, new_artifact: Any, on_vertex: Config) -> Callable[[bool], Artifact]:
    """Runs the Pusher on a model that is blessed or not; returns its artifact."""

    def push(blessed: bool) -> Artifact:
        model = new_artifact(standard_artifacts.Model)
        folder = Path(path_utils.serving_model_dir(model.uri))
        folder.mkdir()
        (folder / "saved_model.pb").write_text("trained")
        blessing = new_artifact(standard_artifacts.ModelBlessing)
        blessing.set_int_custom_property("blessed", int(blessed))
        inputs = {"model": model, "model_blessing": blessing}
        return run_node("Pusher", inputs, config=on_vertex)["pushed_model"]

    return push


def test_a_blessed_model_is_served_at_an_endpoint_that_is_created_for_it(
    push: Callable[[bool], Artifact], deployed: list[Any]
) -> None:
    pushed = push(True)
    where, upload, deploy = deployed
    assert where == {"project": "p", "location": "europe-west4"}
    assert upload["artifact_uri"] == pushed.uri
    assert (Path(pushed.uri) / "saved_model.pb").read_text() == "trained"
    assert upload["serving_container_image_uri"] == VertexSettings(project="p").serving_image
    assert deploy["endpoint"].resource_name == "dogs"
    assert deploy["machine_type"] == "n1-standard-4"
    assert deploy["traffic_percentage"] == 100
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_destination") == "projects/1/models/2"


def test_once_a_model_gets_all_requests_those_before_it_have_no_servers(
    push: Callable[[bool], Artifact], deployed: list[Any], endpoints: Endpoints
) -> None:
    push(True)
    endpoints["dogs"].idle.append("forgotten")
    endpoints["cats"] = Endpoint("cats")
    endpoints["cats"].idle.append("of somebody else")
    push(True)
    (served,) = endpoints["dogs"].list_models()
    assert endpoints["dogs"].traffic_split == {served.id: 100}
    assert endpoints["cats"].idle


def test_a_model_is_pushed_though_those_before_it_keep_their_servers(
    push: Callable[[bool], Artifact],
    deployed: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    push(True)

    def refuse(*_: object) -> None:
        raise ServiceUnavailable("try again\nlater")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Endpoint, "undeploy", refuse)
    assert push(True).get_int_custom_property("pushed") == 1
    (warning,) = (each for each in caplog.records if each.name == "components.nodes.vertex")
    said = warning.getMessage()
    assert warning.levelname == "WARNING"
    assert said.startswith("endpoint dogs: ")
    assert "503 try again later" in said
    assert "gcloud ai endpoints undeploy-model" in said


def test_a_model_that_the_gate_blocks_is_not_served(
    push: Callable[[bool], Artifact], deployed: list[Any], endpoints: Endpoints
) -> None:
    push(True)
    before = len(deployed)
    assert push(False).get_int_custom_property("pushed") == 0
    assert len(deployed) == before
    assert len(endpoints["dogs"].list_models()) == 1


def test_what_the_pusher_is_told_can_be_stored() -> None:
    config = serving_config(**WHERE, endpoint="dogs", machine="n1-standard-4", image="tf:1")
    assert json.loads(json.dumps(config)) == config
    assert config["ai_platform_vertex_container_image_uri"] == "tf:1"
