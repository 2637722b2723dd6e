"""The deploy files: every path, flag and parameter in them is one that exists."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions

from data.contract.labels import MODELS_CONFIG
from data.contract.model import MODEL_NAME
from pipeline.commands import production as commands
from pipeline.config import load_config
from serving.embedded.app import METRICS_PATH
from serving.embedded.batching import BatchingParameters
from serving.embedded.config_files import read_batching

DEPLOY = Path(__file__).parents[2] / "serving" / "deploy"
TF_SERVING = "2.20.0"


@pytest.fixture(scope="module")
def service() -> Any:
    compose = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    return compose["services"]["tensorflow-serving"]


def test_the_batching_parameters_are_tf_servings() -> None:
    assert read_batching(DEPLOY / "batching_parameters.txt") == BatchingParameters(
        max_batch_size=512,
        batch_timeout_micros=5000,
        max_enqueued_batches=32,
        num_batch_threads=2,
        enable_large_batch_splitting=True,
        max_execution_batch_size=32,
    )


def test_a_request_that_may_come_has_room_in_the_queue() -> None:
    parameters = read_batching(DEPLOY / "batching_parameters.txt")
    queue = parameters.max_enqueued_batches * parameters.batch_size
    assert parameters.max_batch_size < queue


def test_compose_mounts_what_its_flags_name(service: Any) -> None:
    mounted = dict(volume.split(":")[:2][::-1] for volume in service["volumes"][1:])
    for inside, outside in mounted.items():
        assert (DEPLOY / outside).is_file()
        assert any(argument.endswith(f"={inside}") for argument in service["command"])
    assert service["image"] == f"tensorflow/serving:{TF_SERVING}"
    assert f"--model_name={MODEL_NAME}" in service["command"]
    assert f"--model_base_path=/models/{MODEL_NAME}" in service["command"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_the_file_laid_over_follows_what_was_promoted(service: Any) -> None:
    over = yaml.safe_load((DEPLOY / "promoted.yml").read_text())["services"]["tensorflow-serving"]
    named = {"--model_name", "--model_base_path"}
    kept = [each for each in service["command"] if each.partition("=")[0] not in named]
    assert set(kept) <= set(over["command"])
    flags = dict(each.partition("=")[::2] for each in over["command"])
    assert flags["--model_config_file"] == f"${{MODELS}}/{MODELS_CONFIG}"
    assert "--allow_version_labels_for_unavailable_models" in flags
    assert over["volumes"] == ["${MODELS}:${MODELS}:ro"]
    # `promote` waits long enough for it to look twice.
    assert 2 * int(flags["--model_config_file_poll_wait_seconds"]) < commands._WAIT


def test_compose_is_reached_from_this_machine_alone(service: Any) -> None:
    assert service["ports"] == ["127.0.0.1:8501:8501"]


def test_the_metrics_are_where_this_server_has_them() -> None:
    assert f'path: "{METRICS_PATH}"' in (DEPLOY / "monitoring.config").read_text()


@pytest.fixture(scope="module")
def predictor() -> Any:
    """Of KServe."""
    service = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())
    assert service["kind"] == "InferenceService"
    return service["spec"]["predictor"]


def test_kserve_names_the_runtime(predictor: Any) -> None:
    model = predictor["model"]
    assert model["runtimeVersion"] == TF_SERVING
    assert model["modelFormat"]["name"] == "tensorflow"


def test_kserve_lets_tf_serving_look_for_versions_itself(predictor: Any) -> None:
    """What KServe fetches by a storageUri it fetches once, all versions of it."""
    assert "storageUri" not in predictor["model"]
    (base,) = (each for each in predictor["model"]["args"] if each.startswith("--model_base_path="))
    assert base.endswith(f"/{MODEL_NAME}")


def test_the_model_of_kserve_has_the_name_that_predict_asks_for(predictor: Any) -> None:
    assert f"--model_name={MODEL_NAME}" in predictor["model"]["args"]


def test_kserve_mounts_the_parameters_of_its_batching(predictor: Any) -> None:
    kustomization = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    assert kustomization["resources"] == ["kserve.yaml"]
    (generated,) = kustomization["configMapGenerator"]
    (file,) = generated["files"]
    assert (DEPLOY / file).is_file()
    assert kustomization["generatorOptions"]["disableNameSuffixHash"]
    (volume,) = predictor["volumes"]
    assert volume["configMap"]["name"] == generated["name"]
    (mount,) = predictor["model"]["volumeMounts"]
    assert mount["name"] == volume["name"]
    arguments = predictor["model"]["args"]
    assert "--enable_batching" in arguments
    assert f"--batching_parameters_file={mount['mountPath']}/{file}" in arguments


@pytest.fixture(scope="module")
def flink() -> dict[str, Any]:
    """The objects beside a Flink, by kind and name."""
    objects = yaml.safe_load_all((DEPLOY / "flink.yaml").read_text())
    return {f"{each['kind']} {each['metadata']['name']}": each for each in objects}


def test_a_pool_of_workers_is_beside_each_task_manager_where_the_profile_looks(
    flink: dict[str, Any],
) -> None:
    beam = load_config("tiny", "flink").beam
    managers = flink["Deployment flink-taskmanager"]["spec"]
    assert managers["replicas"] == beam["parallelism"]
    _, pool = managers["template"]["spec"]["containers"]
    module, option = pool["command"][2:]
    assert importlib.util.find_spec(module)
    assert option == f"--port={str(beam['environment_config']).removeprefix('localhost:')}"


def test_flinks_rest_api_is_where_the_profile_looks(flink: dict[str, Any]) -> None:
    service = flink["Service flink-jobmanager"]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    master = load_config("tiny", "flink").beam["flink_master"]
    assert master == f"http://{service['metadata']['name']}:{ports['rest']}"
    properties = yaml.safe_load(flink["ConfigMap flink"]["data"]["FLINK_PROPERTIES"])
    assert properties["jobmanager.rpc.address"] == service["metadata"]["name"]
    assert properties["blob.server.port"] == ports["blob"]


def test_flink_is_a_version_that_beam_has_a_runner_for(flink: dict[str, Any]) -> None:
    images = {
        container["image"]
        for name in ("jobmanager", "taskmanager")
        for container in flink[f"Deployment flink-{name}"]["spec"]["template"]["spec"]["containers"]
    } - {"IMAGE"}
    (version,) = {image.removeprefix("flink:").partition("-")[0] for image in images}
    assert version in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS


def test_each_deployment_of_flink_selects_its_own_pods(flink: dict[str, Any]) -> None:
    for name in ("jobmanager", "taskmanager"):
        spec = flink[f"Deployment flink-{name}"]["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    pods = flink["Deployment flink-jobmanager"]["spec"]["template"]["metadata"]["labels"]
    assert flink["Service flink-jobmanager"]["spec"]["selector"] == pods


def test_flink_is_reached_from_its_own_pods_alone(flink: dict[str, Any]) -> None:
    """A pool runs the code of whoever asks, and so does a Flink."""
    policy = flink["NetworkPolicy flink"]["spec"]
    deployments = [flink[f"Deployment flink-{name}"] for name in ("jobmanager", "taskmanager")]
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in deployments]
    (allowed,) = policy["ingress"]
    (peer,) = allowed["from"]
    for selector in (policy["podSelector"], peer["podSelector"]):
        assert all(selector["matchLabels"].items() <= labels.items() for labels in pods)
