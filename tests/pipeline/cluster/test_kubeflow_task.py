import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.nodes.schema import curated_schema
from pipeline.cluster import kubeflow_task
from pipeline.cluster.compile_spec import compile_spec
from pipeline.cluster.kubeflow_task import (
    add_found,
    keep,
    main,
    to_local,
    to_remote,
)
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


def test_what_a_driver_has_found_is_said_of_the_outputs() -> None:
    outputs = artifacts(examples="gs://b/e")
    outputs["examples"]["artifacts"][0]["metadata"] = {"span": 1, "kept": "yes"}
    told = invocation({}, outputs)
    found = {"span": 7, "input_fingerprint": "split:train", "input_config": "{}"}
    told["inputs"]["parameterValues"] = {**found, "seed": 3}
    add_found(told)
    (examples,) = told["outputs"]["artifacts"]["examples"]["artifacts"]
    assert examples["metadata"] == {
        "span": 7,
        "input_fingerprint": "split:train",
        "kept": "yes",
    }


def test_where_no_driver_has_looked_nothing_is_said() -> None:
    told = invocation({}, artifacts(model="gs://b/m"))
    add_found(told)
    assert told["outputs"]["artifacts"]["model"]["artifacts"] == [
        {"uri": "gs://b/m", "metadata": {}}
    ]


def test_an_output_that_the_component_does_not_declare_is_left_to_the_platform() -> None:
    told = invocation({}, artifacts(model="gs://b/m", logs="gs://b/logs", curves="gs://b/c"))
    keep(told["outputs"], ["curves", "model", "other"])
    assert told == invocation({}, artifacts(model="gs://b/m", curves="gs://b/c"))


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
def executors() -> Values:
    """Of the compiled pipeline, by their labels."""
    config = load_config("tiny", overrides=["model.weights=random"])
    job = compile_spec(config, "kubeflow", image="i", root="gs://b/r", data="gs://b/d")
    return dict(job["pipelineSpec"]["deploymentSpec"]["executors"])


@pytest.fixture(scope="module")
def curated_schema_arguments(executors: Values) -> list[str]:
    """What the container of CuratedSchema is given."""
    return list(executors["CuratedSchema_executor"]["container"]["args"])


LOGS = "gs://bucket/runs/1/CuratedSchema/executor-logs"


@pytest.fixture
def logs(volumes: Path) -> Path:
    """The file that the launcher writes the task's logs to, which it opens before the task."""
    file = volumes / LOGS.replace("gs://", "gcs/")
    file.parent.mkdir(parents=True)
    file.write_text("a line\n")
    return file


@pytest.fixture
def run_task(tmp_path: Path, logs: Path) -> Callable[[list[str]], tuple[int, Path]]:
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
                },
                "executor-logs": {
                    "artifacts": [{"uri": LOGS, "type": {"schemaTitle": "system.Artifact"}}]
                },
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
    logs: Path,
) -> None:
    status, output_file = run_task(curated_schema_arguments)
    assert status == 0
    folder = volumes / "gcs" / "bucket" / "runs" / "1" / "CuratedSchema" / "schema"
    assert (folder / "schema.pbtxt").read_text() == curated_schema(["calm", "wild"])
    made = json.loads(output_file.read_text())["artifacts"]
    assert [*made] == ["schema"]
    (schema,) = made["schema"]["artifacts"]
    assert schema["uri"] == "gs://bucket/runs/1/CuratedSchema/schema"
    assert schema["name"] == "schema"
    assert schema["metadata"]["display_name"] == "schema"
    assert str(volumes) not in output_file.read_text()
    assert logs.read_text() == "a line\n"


def test_the_driver_finds_the_newest_span_by_itself(executors: Values, tmp_path: Path) -> None:
    for span in ("span-2", "span-10"):
        for split in ("train", "val", "test"):
            shard = tmp_path / "records" / span / f"{split}-0.tfrecord.gz"
            shard.parent.mkdir(parents=True, exist_ok=True)
            shard.write_text("records")
    splits = [
        {"name": name, "pattern": f"span-{{SPAN}}/{name}-*.tfrecord.gz"}
        for name in ("train", "val", "test")
    ]
    output_file = tmp_path / "kfp_outputs" / "output_metadata.json"
    told = {
        "inputs": {
            "parameterValues": {
                "input_base": str(tmp_path / "records"),
                "input_config": json.dumps({"splits": splits}),
                "output_data_format": 6,
                "output_file_format": 5,
            }
        },
        "outputs": {
            "parameters": {"span": {"outputFile": f"{tmp_path}/span"}},
            "artifacts": {"executor-logs": {"artifacts": [{"uri": LOGS}]}},
            "outputFile": str(output_file),
        },
    }
    arguments = executors["NewestSpan_executor"]["container"]["args"]
    status = main([json.dumps(told) if each == "{{$}}" else each for each in arguments])
    assert status == 0
    said = json.loads(output_file.read_text())
    assert not said["artifacts"]
    found = said["parameterValues"]
    assert found.keys() == {"span", "input_fingerprint", "input_config"}
    assert found["span"] == 10
    assert "num_files:1,total_bytes:7" in found["input_fingerprint"]
    patterns = [each["pattern"] for each in json.loads(found["input_config"])["splits"]]
    assert patterns == [f"span-10/{name}-*.tfrecord.gz" for name in ("train", "val", "test")]


@pytest.mark.parametrize("status", [0, 9])
def test_the_status_of_what_was_run_is_that_of_the_task(
    run_task: Callable[[list[str]], tuple[int, Path]],
    curated_schema_arguments: list[str],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("an_executor.py").write_text(
        "import json, pathlib, sys\n"
        "output = pathlib.Path(json.loads(sys.argv[2])['outputs']['outputFile'])\n"
        "output.parent.mkdir()\n"
        f"output.write_text('{{}}')\nsys.exit({status})"
    )
    monkeypatch.setattr(kubeflow_task, "_RUN_EXECUTOR", "an_executor")
    assert run_task(curated_schema_arguments)[0] == status
