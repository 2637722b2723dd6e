import argparse
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth
import pytest
import yaml
from apache_beam.options.pipeline_options import GoogleCloudOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform import gapic, initializer
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient
from google.cloud.aiplatform_v1.types import PipelineJob, Schedule
from kfp.client import Client

from data.contract.errors import Exit
from data.contract.model import push_destination
from pipeline.cli import main
from pipeline.cluster.compile_spec import as_text, compile_spec
from pipeline.cluster.places import Target
from pipeline.config import load_config
from tests.pipeline.cluster.kubeflow_server import KubeflowApi, served

Values = dict[str, Any]

ROOT = Path(__file__).parents[3]
BUCKET_IS_MADE = "create_gcs_bucket_for_pipeline_artifacts_if_it_does_not_exist"
PARENT = "projects/p/locations/europe-west4"
COMPILED = {
    "data_root": "gs://bucket/data",
    "push_destination": push_destination("gs://bucket/runs/serving/dog_emotion"),
}
ELSEWHERE = ("--root", "gs://other/runs", "--data", "gs://other/data", "--serving", "gs://other/m")
AT_OTHERS = {"data_root": "gs://other/data", "push_destination": push_destination("gs://other/m")}


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of compiled pipelines."""
    folder = tmp_path_factory.mktemp("specs")
    config = load_config("tiny", overrides=["model.weights=random"])
    targets: tuple[Target, ...] = ("kubeflow", "vertex")
    for target in targets:
        job = compile_spec(
            config, target, image="img:1", root="gs://bucket/runs", data="gs://bucket/data"
        )
        for suffix in (".json", ".yaml"):
            (folder / f"{target}{suffix}").write_text(as_text(job, suffix))
    return folder


@pytest.fixture(params=[".json", ".yaml"])
def kubeflow(request: pytest.FixtureRequest, specs: Path) -> Path:
    return specs / f"kubeflow{request.param}"


@pytest.fixture(params=[".json", ".yaml"])
def vertex(request: pytest.FixtureRequest, specs: Path) -> Path:
    return specs / f"vertex{request.param}"


def pipeline_spec(file: Path) -> Values:
    values = yaml.safe_load(file.read_text())
    return dict(values.get("pipelineSpec", values))


@pytest.fixture(autouse=True)
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has neither credentials nor a cluster."""
    for name in [*os.environ]:
        if name.startswith(("GOOGLE_", "GCLOUD_", "CLOUDSDK_", "KF_", "KUBE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setattr(initializer.global_config, "_credentials", None)
    monkeypatch.setattr(initializer.global_config, "_project", None)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error, without the program's name."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dog-emotion: ")
    return line.removeprefix("dog-emotion: ")


def submit(file: Path, target: str, *others: str) -> int:
    return main(["submit", str(file), "--target", target, *others])


@pytest.mark.parametrize(
    ("places", "root", "parameters"),
    [((), "gs://bucket/runs", COMPILED), (ELSEWHERE, "gs://other/runs", AT_OTHERS)],
)
def test_a_dry_run_for_kubeflow_prints_what_its_client_would_be_given(
    kubeflow: Path,
    places: tuple[str, ...],
    root: str,
    parameters: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    host = ("--host", "http://127.0.0.1:9", "--service-account", "trainer")
    assert submit(kubeflow, "kubeflow", "--dry-run", *host, *places) == Exit.DONE
    printed = capsys.readouterr()
    assert printed.err == ""
    call = json.loads(printed.out)
    assert call["host"] == "http://127.0.0.1:9"
    run = call["create_run_from_pipeline_package"]
    assert run["pipeline_root"] == root
    assert run["arguments"] == parameters
    assert run["service_account"] == "trainer"
    assert run["run_name"] == "dog-emotion"
    assert set(run["pipeline_file"]["root"]["dag"]["tasks"]) == tasks(kubeflow)


def tasks(file: Path) -> set[str]:
    return set(pipeline_spec(file)["root"]["dag"]["tasks"])


@pytest.mark.parametrize(
    ("places", "root", "parameters"),
    [((), "gs://bucket/runs", COMPILED), (ELSEWHERE, "gs://other/runs", AT_OTHERS)],
)
def test_a_dry_run_for_vertex_prints_the_job_that_would_be_created(
    vertex: Path,
    places: tuple[str, ...],
    root: str,
    parameters: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ("--project", "p", "--region", "europe-west4", "--service-account", "sa@p.iam")
    assert submit(vertex, "vertex", "--dry-run", *where, *places) == Exit.DONE
    printed = capsys.readouterr()
    assert printed.err == ""
    call = json.loads(printed.out)
    assert call["parent"] == PARENT
    job = call["pipelineJob"]
    assert job["runtimeConfig"]["gcsOutputDirectory"] == root
    assert job["runtimeConfig"]["parameterValues"] == parameters
    assert job["serviceAccount"] == "sa@p.iam"
    assert set(job["pipelineSpec"]["root"]["dag"]["tasks"]) == tasks(vertex)


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_nobody_is_named_where_nobody_was(
    target: str, specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = specs / f"{target}.json"
    assert submit(file, target, "--dry-run", "--project", "p") == Exit.DONE
    printed = json.loads(capsys.readouterr().out)
    assert "serviceAccount" not in printed.get("pipelineJob", {})
    assert printed.get("create_run_from_pipeline_package", {}).get("service_account") is None


class Kubeflow(KubeflowApi):
    """Makes what it is asked to."""

    asked: list[tuple[str, Values]]

    def make(self, path: str, body: Values) -> Values:
        self.asked.append((path, body))
        key = {
            "/apis/v2beta1/experiments": "experiment_id",
            "/apis/v2beta1/runs": "run_id",
            "/apis/v2beta1/recurringruns": "recurring_run_id",
        }
        return {**body, key[path]: "number 1"}


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, Values]]]]:
    """Where the API is, and what it was asked to create."""
    asked: list[tuple[str, Values]] = []
    with served(type("Handler", (Kubeflow,), {"asked": asked})) as host:
        yield host, asked


def test_kubeflow_gets_the_run(
    kubeflow: Path,
    server: tuple[str, list[tuple[str, Values]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    host, asked = server
    others = ("--service-account", "trainer", *ELSEWHERE)
    assert submit(kubeflow, "kubeflow", "--host", host, *others) == Exit.DONE
    (_, experiment), (path, run) = asked
    assert experiment["display_name"] == "Default"
    assert path == "/apis/v2beta1/runs"
    assert run["display_name"] == "dog-emotion"
    assert run["experiment_id"] == "number 1"
    assert run["service_account"] == "trainer"
    assert run["runtime_config"] == {"pipeline_root": "gs://other/runs", "parameters": AT_OTHERS}
    sent = run["pipeline_spec"]
    compiled = pipeline_spec(kubeflow)
    assert set(sent["root"]["dag"]["tasks"]) == tasks(kubeflow)
    assert sent["deploymentSpec"] == compiled["deploymentSpec"]
    assert sent["schemaVersion"] == "2.1.0"
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[-1] == "run number 1"
    assert f"Run details: {host}/#/runs/details/number 1" in printed.out


def test_kubeflow_is_told_what_kubernetes_is_asked_for(
    tmp_path: Path, server: tuple[str, list[tuple[str, Values]]]
) -> None:
    settings = ["model.weights=random", 'kubernetes.node_selector={pool="cpu"}']
    places = {"image": "img:1", "root": "gs://bucket/runs", "data": "gs://bucket/data"}
    job = compile_spec(load_config("tiny", overrides=settings), "kubeflow", **places)
    host, asked = server
    for suffix in (".json", ".yaml"):
        file = tmp_path / f"spec{suffix}"
        file.write_text(as_text(job, suffix))
        for when in ((), WEEKLY):
            assert submit(file, "kubeflow", "--host", host, *when) == Exit.DONE
            sent = asked[-1][1]["pipeline_spec"]
            executors = sent["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]
            trainer = executors["executors"]["Trainer_executor"]
            assert trainer["nodeSelector"] == {"labels": {"pool": "cpu"}}
            (there, here) = (sent["pipeline_spec"], job["pipelineSpec"])
            assert there["root"]["dag"]["tasks"].keys() == here["root"]["dag"]["tasks"].keys()


NAMED = ("--name", "after the new photos", "--experiment", "dogs")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_run_on_kubeflow_has_the_name_the_experiment_and_the_namespace_that_are_given(
    specs: Path,
    server: tuple[str, list[tuple[str, Values]]],
    dry_run: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    host, asked = server
    options = (*NAMED, "--namespace", "team", "--host", host, *(["--dry-run"] * dry_run))
    assert submit(specs / "kubeflow.json", "kubeflow", *options) == Exit.DONE
    if dry_run:
        call = json.loads(capsys.readouterr().out)["create_run_from_pipeline_package"]
        found = [call[key] for key in ("run_name", "experiment_name", "namespace")]
        assert found == ["after the new photos", "dogs", "team"]
        assert asked == []
    else:
        (_, experiment), (_, run) = asked
        assert (experiment["display_name"], experiment["namespace"]) == ("dogs", "team")
        assert run["display_name"] == "after the new photos"


WEEKLY = ("--cron", "0 3 * * 1")


@pytest.mark.parametrize("dry_run", [False, True])
def test_kubeflow_gets_a_schedule_with_the_seconds_that_its_cron_begins_with(
    specs: Path,
    server: tuple[str, list[tuple[str, Values]]],
    dry_run: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    host, asked = server
    options = (*WEEKLY, *NAMED, "--host", host, "--service-account", "trainer", *ELSEWHERE)
    dry = ["--dry-run"] * dry_run
    assert submit(specs / "kubeflow.yaml", "kubeflow", *options, *dry) == Exit.DONE
    said = capsys.readouterr()
    if dry_run:
        printed = json.loads(said.out)
        assert printed.pop("host") == host
        for method, arguments in printed.items():
            inspect.signature(getattr(Client, method)).bind_partial(None, **arguments)
        assert printed["create_experiment"]["name"] == "dogs"
        call = printed["create_recurring_run"]
        assert call["cron_expression"] == "0 0 3 * * 1"
        assert call["params"] == AT_OTHERS
        assert asked == []
        return
    (_, experiment), (path, made) = asked
    assert experiment["display_name"] == "dogs"
    assert path == "/apis/v2beta1/recurringruns"
    assert made["display_name"] == "after the new photos"
    assert made["experiment_id"] == "number 1"
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (made["mode"], made["max_concurrency"], made["no_catchup"]) == ("ENABLE", 1, True)
    assert made["service_account"] == "trainer"
    assert made["runtime_config"] == {"pipeline_root": "gs://other/runs", "parameters": AT_OTHERS}
    sent = made["pipeline_spec"]
    assert set(sent["root"]["dag"]["tasks"]) == tasks(specs / "kubeflow.yaml")
    assert said.out.splitlines()[-1] == "schedule number 1"


@pytest.mark.parametrize(
    "cron", ["", "0 3 * *", "0 0 3 * * 1", "@weekly", "0 3 * * 1;", "TZ=UTC 0 3 * * 1"]
)
@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_schedule_of_other_than_five_fields_is_2(
    target: str, cron: str, specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = specs / f"{target}.json"
    assert submit(file, target, "--project", "p", "--cron", cron, "--dry-run") == Exit.USAGE
    assert said(capsys).startswith(f'--cron "{cron}": expected minute, hour, day, month')


def test_the_host_may_come_from_the_environment(
    specs: Path,
    server: tuple[str, list[tuple[str, Values]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, asked = server
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", host)
    assert submit(specs / "kubeflow.yaml", "kubeflow") == Exit.DONE
    assert asked[-1][1]["runtime_config"]["parameters"] == COMPILED


def test_kubeflow_out_of_reach_is_1_in_one_line(specs: Path) -> None:
    """In a process of its own, whose warnings nobody catches."""
    command = [sys.executable, "-c", "import sys; from pipeline.cli import main; sys.exit(main())"]
    command += ["submit", str(specs / "kubeflow.json"), "--target", "kubeflow"]
    tried = subprocess.run(
        [*command, "--host", "http://127.0.0.1:9"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert tried.returncode == Exit.FAILED
    (line,) = tried.stderr.splitlines()
    assert line.startswith("dog-emotion: Kubeflow Pipelines: ")
    assert "port=9" in line
    assert tried.stdout == ""


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[Values]:
    """What Vertex AI is asked to create by somebody who has credentials."""
    created: list[Values] = []

    def create(_: object, *, pipeline_job_id: str, **asked: Any) -> PipelineJob:
        created.append({"id": pipeline_job_id, **asked})
        name = f"{asked['parent']}/pipelineJobs/{pipeline_job_id}"
        return PipelineJob(name=name, state="PIPELINE_STATE_PENDING")

    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(google.auth, "default", lambda *_, **__: (anonymous, "another-project"))
    monkeypatch.setattr(PipelineServiceClient, "create_pipeline_job", create)
    monkeypatch.setattr(
        "google.cloud.aiplatform.utils.gcs_utils."
        "create_gcs_bucket_for_pipeline_artifacts_if_it_does_not_exist",
        lambda **_: None,
    )
    return created


def test_vertex_gets_the_job(
    vertex: Path, created: list[Values], capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--project", "p", "--region", "europe-west4", "--service-account", "sa@p.iam")
    assert submit(vertex, "vertex", *where, *ELSEWHERE) == Exit.DONE
    (asked,) = created
    assert asked["parent"] == PARENT
    job = asked["pipeline_job"]
    assert job.display_name == "dog-emotion"
    assert job.service_account == "sa@p.iam"
    assert job.runtime_config.gcs_output_directory == "gs://other/runs"
    assert dict(job.runtime_config.parameter_values) == AT_OTHERS
    assert set(job.pipeline_spec["root"]["dag"]["tasks"]) == tasks(vertex)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"run {PARENT}/pipelineJobs/{asked['id']}"


@pytest.mark.parametrize("dry_run", [False, True])
def test_vertex_gets_a_schedule(
    specs: Path,
    created: list[Values],
    dry_run: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: list[Values] = []

    def create(_: object, *, parent: str, schedule: Schedule, **others: object) -> Schedule:
        made.append({"parent": parent, "schedule": json.loads(Schedule.to_json(schedule))})
        return Schedule(name=f"{parent}/schedules/7")

    monkeypatch.setattr(ScheduleServiceClient, "create_schedule", create)
    where = ("--project", "p", "--region", "europe-west4", "--service-account", "sa@p.iam")
    options = (*where, *WEEKLY, "--name", "weekly", *ELSEWHERE, *(["--dry-run"] * dry_run))
    assert submit(specs / "vertex.json", "vertex", *options) == Exit.DONE
    said = capsys.readouterr()
    (call,) = [json.loads(said.out)] if dry_run else made
    assert call["parent"] == PARENT
    schedule = call["schedule"]
    assert (schedule["displayName"], schedule["cron"]) == ("weekly", "0 3 * * 1")
    assert int(schedule["maxConcurrentRunCount"]) == 1
    request = schedule["createPipelineJobRequest"]
    assert request["parent"] == PARENT
    job = request["pipelineJob"]
    assert job["serviceAccount"] == "sa@p.iam"
    assert job["runtimeConfig"]["gcsOutputDirectory"] == "gs://other/runs"
    assert job["runtimeConfig"]["parameterValues"] == AT_OTHERS
    assert set(job["pipelineSpec"]["root"]["dag"]["tasks"]) == tasks(specs / "vertex.json")
    assert created == []
    if not dry_run:
        assert said.out.splitlines()[-1] == f"schedule {PARENT}/schedules/7"


@pytest.fixture(scope="module")
def on_google_cloud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose Trainer is a custom job, and whose Beam runs on Dataflow."""
    settings = ["model.weights=random", "vertex.project=p", "beam.project=p"]
    config = load_config("tiny", "vertex", "dataflow", overrides=settings)
    places = {"image": "img:1", "root": "gs://bucket/runs", "data": "gs://bucket/data"}
    file = tmp_path_factory.mktemp("google") / "spec.json"
    file.write_text(as_text(compile_spec(config, "vertex", **places), ".json"))
    return file


def accounts(spec: Values) -> tuple[str, set[str | None]]:
    """Of the Trainer's custom job, and of the workers of Dataflow."""
    trainer = spec["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]["custom_config"]
    job = json.loads(trainer["runtimeValue"]["constant"])["ai_platform_training_args"]
    executors = spec["deploymentSpec"]["executors"].values()
    workers = {
        parser_of_dataflow().parse_known_args(each["container"]["args"])[0].service_account_email
        for each in executors
        if "--runner=DataflowRunner" in each.get("container", {}).get("args", [])
    }
    return gapic.CustomJobSpec(**job["job_spec"]).service_account, workers


def parser_of_dataflow() -> Any:
    """Beam's own."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    GoogleCloudOptions._add_argparse_args(parser)
    return parser


def test_the_account_of_a_run_on_vertex_reaches_the_custom_job_and_the_workers_of_dataflow(
    on_google_cloud: Path, created: list[Values]
) -> None:
    where = ("--project", "p", "--service-account", "sa@p.iam")
    assert submit(on_google_cloud, "vertex", *where) == Exit.DONE
    (asked,) = created
    job = json.loads(PipelineJob.to_json(asked["pipeline_job"]))
    assert job["serviceAccount"] == "sa@p.iam"
    assert accounts(job["pipelineSpec"]) == ("sa@p.iam", {"sa@p.iam"})
    assert accounts(pipeline_spec(on_google_cloud)) == ("", {None})


def test_an_account_that_was_compiled_in_stays(
    tmp_path: Path, on_google_cloud: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = on_google_cloud.read_text()
    runner = '"--runner=DataflowRunner"'
    file = tmp_path / "spec.yaml"
    named = text.replace(runner, f'{runner}, "--service_account_email=workers@p.iam"')
    file.write_text(yaml.safe_dump(json.loads(named)["pipelineSpec"]))
    where = ("--project", "p", "--service-account", "sa@p.iam", "--dry-run")
    assert submit(file, "vertex", *where) == Exit.DONE
    job = json.loads(capsys.readouterr().out)["pipelineJob"]
    assert accounts(job["pipelineSpec"]) == ("sa@p.iam", {"workers@p.iam"})


def test_a_refusal_of_vertex_is_1_in_its_words(
    specs: Path,
    created: list[Values],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("403 aiplatform.pipelineJobs.create\n  denied on resource")

    monkeypatch.setattr(PipelineServiceClient, "create_pipeline_job", refuse)
    assert submit(specs / "vertex.json", "vertex", "--project", "p") == Exit.FAILED
    assert said(capsys) == "Vertex AI: 403 aiplatform.pipelineJobs.create denied on resource"


def test_vertex_without_credentials_is_1_in_one_line(
    specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(specs / "vertex.json", "vertex", "--project", "p") == Exit.FAILED
    line = said(capsys)
    assert line.startswith("Vertex AI: ")
    assert "credentials" in line


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_kubeflow_refuses_what_was_compiled_for_vertex(
    vertex: Path, dry_run: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(vertex, "kubeflow", *dry_run) == Exit.USAGE
    assert said(capsys) == f"{vertex}: it was compiled with --target vertex"


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_vertex_refuses_what_was_compiled_for_kubeflow(
    kubeflow: Path, dry_run: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(kubeflow, "vertex", "--project", "p", *dry_run) == Exit.USAGE
    assert said(capsys) == f"{kubeflow}: it was compiled with --target kubeflow"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--namespace", "team"), "--namespace: it is for --target kubeflow"),
        ((*WEEKLY, "--experiment", "dogs"), "--experiment: a schedule of Vertex AI has none"),
        (("--wait", "--dry-run"), "--wait: with --dry-run there is no run to wait for"),
    ],
)
def test_options_that_do_not_go_together_are_2(
    options: tuple[str, ...], message: str, specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(specs / "vertex.json", "vertex", "--project", "p", *options) == Exit.USAGE
    assert said(capsys) == message


@pytest.mark.parametrize(
    ("target", "place", "message"),
    [
        ("vertex", ("--root", "/runs"), "--root /runs: on vertex it must begin with gs://"),
        ("vertex", ("--data", "records"), "--data records: on vertex it must begin with gs://"),
        (
            "vertex",
            ("--serving", "s3://b/m"),
            "--serving s3://b/m: on vertex it must begin with gs",
        ),
        ("kubeflow", ("--root", "/runs"), "--root /runs: on kubeflow it must begin with gs:// or "),
        ("kubeflow", ("--data", ""), "--data : on kubeflow it must begin with gs:// or /"),
        ("kubeflow", ("--data", "/records"), "--data /records: nothing is mounted there; compile"),
        ("kubeflow", ("--serving", "/m"), "--serving /m: nothing is mounted there; compile with"),
    ],
)
def test_a_place_that_the_platform_cannot_use_is_2_as_when_compiling(
    target: str,
    place: tuple[str, str],
    message: str,
    specs: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = specs / f"{target}.json"
    assert submit(file, target, "--project", "p", "--dry-run", *place) == Exit.USAGE
    assert said(capsys).startswith(message)


def test_a_place_in_a_volume_of_the_spec_may_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = 'kubernetes.volumes=[{claim="photos", mount="/photos"}]'
    config = load_config("tiny", overrides=["model.weights=random", volume])
    places = {"image": "img:1", "root": "gs://bucket/runs", "data": "/photos/records"}
    file = tmp_path / "spec.yaml"
    file.write_text(as_text(compile_spec(config, "kubeflow", **places), ".yaml"))
    assert submit(file, "kubeflow", "--dry-run", "--data", "/photos/new") == Exit.DONE
    call = json.loads(capsys.readouterr().out)["create_run_from_pipeline_package"]
    assert call["arguments"]["data_root"] == "/photos/new"


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_vertex_needs_a_project(
    specs: Path, dry_run: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(specs / "vertex.json", "vertex", *dry_run) == Exit.USAGE
    assert said(capsys) == "--target vertex needs --project"


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_pipeline_of_somebody_else_is_not_sent(
    target: str, specs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = json.loads((specs / f"{target}.json").read_text())
    del job["pipelineSpec"]["components"]["Pusher"]["outputDefinitions"]
    file = tmp_path / "other.json"
    file.write_text(json.dumps(job))
    assert submit(file, target, "--project", "p", "--dry-run") == Exit.USAGE
    assert said(capsys).startswith(f"{file}: `dog-emotion compile` has not written this")


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_a_file_that_is_not_a_spec_is_2(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path / "none.json", target, "--project", "p") == Exit.USAGE
    assert said(capsys) == f"{tmp_path}/none.json: No such file or directory"
