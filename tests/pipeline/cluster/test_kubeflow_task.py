import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.nodes.schema import curated_schema
from pipeline.cluster import kubeflow_task
from pipeline.cluster.compile_spec import compile_spec
from pipeline.cluster.kubeflow_task import add_found, main, to_local, to_remote
from pipeline.config import load_config

Values = dict[str, Any]

MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
SCHEMA = {"instanceSchema": "title: tfx.Schema\ntype: object\n"}
SCHEMES = [("gs://", "gcs"), ("s3://", "s3"), ("minio://", "minio")]


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the launcher's local copies are; on a cluster that is /."""
    folders = {scheme: f"{tmp_path}/{name}/" for scheme, name in SCHEMES}
    assert {scheme: f"/{name}/" for scheme, name in SCHEMES} == kubeflow_task._LOCAL_FOLDERS
    monkeypatch.setattr(kubeflow_task, "_LOCAL_FOLDERS", folders)
    return tmp_path


def artifacts(**uris: str) -> Values:
    """Artifacts as the launcher describes them, one per key."""
    return {key: {"artifacts": [{"uri": uri}]} for key, uri in uris.items()}


def invocation(inputs: Values, outputs: Values) -> Values:
    return {
        "inputs": {"artifacts": inputs},
        "outputs": {"artifacts": outputs, "outputFile": "/tmp/kfp/output.json"},
    }


@pytest.mark.parametrize(("scheme", "folder"), SCHEMES)
def test_a_remote_artifact_is_told_as_its_local_copy(
    volumes: Path, scheme: str, folder: str
) -> None:
    inputs, outputs = artifacts(model=f"{scheme}b/1/model"), artifacts(schema=f"{scheme}b/2/schema")
    told = to_local(invocation(inputs, outputs), {"artifacts": {"model": {"artifactType": MODEL}}})
    (model,) = told["inputs"]["artifacts"]["model"]["artifacts"]
    (schema,) = told["outputs"]["artifacts"]["schema"]["artifacts"]
    assert model["uri"] == f"{volumes}/{folder}/b/1/model"
    assert schema["uri"] == f"{volumes}/{folder}/b/2/schema"
    assert told["outputs"]["outputFile"] == "/tmp/kfp/output.json"


def test_the_folder_of_an_output_is_there_and_that_of_an_input_is_left_alone(volumes: Path) -> None:
    inputs, outputs = artifacts(model="gs://b/model"), artifacts(schema="gs://b/deep/schema")
    to_local(invocation(inputs, outputs), {"artifacts": {"model": {"artifactType": MODEL}}})
    assert (volumes / "gcs" / "b" / "deep" / "schema").is_dir()
    assert not (volumes / "gcs" / "b" / "model").exists()


@pytest.mark.parametrize("said", [{}, {"type": {"schemaTitle": "system.Artifact"}}])
def test_an_input_gets_the_type_that_tfx_needs(said: Values) -> None:
    """The launcher gives none, or one of its own."""
    inputs = {"model": {"artifacts": [{"uri": "gs://b/m", **said}, {"uri": "gs://b/n", **said}]}}
    told = to_local(invocation(inputs, {}), {"artifacts": {"model": {"artifactType": MODEL}}})
    assert [each["type"] for each in told["inputs"]["artifacts"]["model"]["artifacts"]] == [
        MODEL,
        MODEL,
    ]


def test_an_output_keeps_its_type_and_name_and_gets_a_name_where_it_has_none() -> None:
    outputs = artifacts(schema="gs://b/s", model="gs://b/m")
    outputs["schema"]["artifacts"][0] |= {"type": SCHEMA, "name": "projects/1"}
    outputs["model"]["artifacts"][0] |= {"type": MODEL}
    told = to_local(invocation({}, outputs), {})["outputs"]["artifacts"]
    assert {key: each["artifacts"][0]["name"] for key, each in told.items()} == {
        "schema": "projects/1",
        "model": "model",
    }
    assert told["schema"]["artifacts"][0]["type"] == SCHEMA


@pytest.mark.parametrize("told", [{}, {"inputs": {}}, {"inputs": {"artifacts": {"model": {}}}}])
def test_a_task_may_have_no_inputs_and_no_outputs(told: Values) -> None:
    """protobuf leaves out what is empty."""
    alone = {"outputs": {"outputFile": "/tmp/output.json"}, **told}
    assert to_local(json.loads(json.dumps(alone)), {}) == alone


def test_what_is_local_already_stays_where_it_is(tmp_path: Path) -> None:
    told = to_local(invocation({}, artifacts(schema=f"{tmp_path}/volume")), {})
    assert told["outputs"]["artifacts"]["schema"]["artifacts"][0]["uri"] == f"{tmp_path}/volume"


def test_what_the_driver_says_about_an_output_is_added_to_what_was_said_before() -> None:
    outputs = artifacts(examples="gs://b/e", other="gs://b/o")
    outputs["examples"]["artifacts"][0]["metadata"] = {"span": 1, "kept": "yes"}
    told = invocation({}, outputs)
    add_found(
        told, {"artifacts": {"examples": {"artifacts": [{"metadata": {"span": 7, "version": 0}}]}}}
    )
    found = {key: each["artifacts"][0] for key, each in told["outputs"]["artifacts"].items()}
    assert found["examples"]["metadata"] == {"span": 7, "version": 0, "kept": "yes"}
    assert found["other"]["metadata"] == {}


def test_a_driver_may_say_nothing_about_the_outputs() -> None:
    told = invocation({}, artifacts(examples="gs://b/e"))
    add_found(told, {"parameterValues": {"span": 7}})
    assert told["outputs"]["artifacts"]["examples"]["artifacts"][0]["uri"] == "gs://b/e"


@pytest.mark.parametrize(("scheme", "folder"), SCHEMES)
def test_an_output_is_told_to_the_launcher_by_its_remote_name(
    volumes: Path, scheme: str, folder: str
) -> None:
    made = artifacts(schema=f"{volumes}/{folder}/b/s", other="/mnt/gcs/b/o")
    told = to_remote({"artifacts": made, "parameterValues": {"x": 1}})
    assert told == {
        "artifacts": artifacts(schema=f"{scheme}b/s", other="/mnt/gcs/b/o"),
        "parameterValues": {"x": 1},
    }


def test_there_and_back_is_where_it_was() -> None:
    outputs = {
        key: f"{scheme}bucket/runs/dog-emotion/1/{key}"
        for scheme, key in (("gs://", "a"), ("s3://", "b"), ("minio://", "c"))
    }
    told = to_local(invocation({}, artifacts(**outputs)), {})
    back = to_remote(told["outputs"])["artifacts"]
    assert {key: each["artifacts"][0]["uri"] for key, each in back.items()} == outputs


@pytest.fixture(scope="module")
def curated_schema_arguments() -> list[str]:
    """What the container of CuratedSchema is given."""
    config = load_config("tiny", overrides=["model.weights=random"])
    job = compile_spec(config, "kubeflow", image="i", root="gs://b/r", data="gs://b/d")
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"]
    return list(executors["CuratedSchema_executor"]["container"]["args"])


@pytest.fixture
def run_task(
    curated_schema_arguments: list[str], tmp_path: Path
) -> Callable[[list[str]], tuple[int, Path]]:
    """CuratedSchema, as the launcher starts it; returns the status and the output file."""
    output_file = tmp_path / "kfp_outputs" / "output_metadata.json"
    told = {
        "inputs": {
            "parameterValues": {"text": curated_schema(["calm", "wild"]), "code": "any hash"}
        },
        "outputs": {
            "artifacts": {
                "schema": {
                    "artifacts": [
                        {
                            "uri": "gs://bucket/runs/1/CuratedSchema/schema",
                            "type": SCHEMA,
                            "metadata": {"display_name": "schema"},
                        }
                    ]
                }
            },
            "outputFile": str(output_file),
        },
    }

    def run(others: list[str]) -> tuple[int, Path]:
        arguments = [json.dumps(told) if each == "{{$}}" else each for each in others]
        return main(arguments), output_file

    return run


def test_a_task_writes_where_the_launcher_looks_and_tells_it_in_its_words(
    run_task: Callable[[list[str]], tuple[int, Path]],
    curated_schema_arguments: list[str],
    volumes: Path,
) -> None:
    status, output_file = run_task(curated_schema_arguments)
    assert status == 0
    folder = volumes / "gcs" / "bucket" / "runs" / "1" / "CuratedSchema" / "schema"
    assert (folder / "schema.pbtxt").read_text() == curated_schema(["calm", "wild"])
    (schema,) = json.loads(output_file.read_text())["artifacts"]["schema"]["artifacts"]
    assert schema["uri"] == "gs://bucket/runs/1/CuratedSchema/schema"
    assert schema["name"] == "schema"
    assert schema["metadata"]["display_name"] == "schema"
    assert str(volumes) not in output_file.read_text()


STUB = """
import json, pathlib, sys
_, told, *others = sys.argv[1:]
told = json.loads(told)
with pathlib.Path("calls").open("a") as calls:
    print(json.dumps([pathlib.Path(__file__).stem, told, others]), file=calls)
(schema,) = told["outputs"]["artifacts"]["schema"]["artifacts"]
said = {"schema": {"artifacts": [{"uri": schema["uri"], "metadata": {"span": 4}}]}}
output = pathlib.Path(told["outputs"]["outputFile"])
output.parent.mkdir(exist_ok=True)
output.write_text(json.dumps({"artifacts": said}))
sys.exit(9 if "--fail" in others else 0)
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """A driver and an executor that report what they were given."""
    monkeypatch.chdir(tmp_path)
    for name in ("a_driver", "an_executor"):
        Path(f"{name}.py").write_text(STUB)
    monkeypatch.setattr(kubeflow_task, "_RUN_EXECUTOR", "an_executor")

    def read() -> list[Any]:
        return [json.loads(line) for line in Path("calls").read_text().splitlines()]

    return read


def test_the_driver_runs_first_and_what_it_finds_reaches_the_executor(
    run_task: Callable[[list[str]], tuple[int, Path]],
    curated_schema_arguments: list[str],
    calls: Callable[[], list[Any]],
) -> None:
    status, _ = run_task(["--driver=a_driver", *curated_schema_arguments])
    assert status == 0
    (driver, told_first, _), (executor, told_then, others) = calls()
    assert [driver, executor] == ["a_driver", "an_executor"]

    def metadata(told: Values) -> Values:
        return dict(told["outputs"]["artifacts"]["schema"]["artifacts"][0]["metadata"])

    assert metadata(told_first) == {"display_name": "schema"}
    assert metadata(told_then) == {"display_name": "schema", "span": 4}
    assert "--executor_class_path" in others
    assert not [each for each in others if "driver" in each]


@pytest.mark.parametrize("driver", [[], ["--driver=a_driver"]])
def test_what_fails_is_the_last_to_run_and_its_status_is_that_of_the_task(
    run_task: Callable[[list[str]], tuple[int, Path]],
    curated_schema_arguments: list[str],
    calls: Callable[[], list[Any]],
    driver: list[str],
    volumes: Path,
) -> None:
    status, output_file = run_task([*driver, *curated_schema_arguments, "--fail"])
    assert status == 9
    assert [name for name, *_ in calls()] == ["a_driver" if driver else "an_executor"]
    assert str(volumes) in output_file.read_text()  # as it was left
