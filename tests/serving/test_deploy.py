"""The deploy files: every path, flag and parameter in them is one that exists."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from data.contract.model import MODEL_NAME
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
        max_batch_size=32, batch_timeout_micros=5000, max_enqueued_batches=16, num_batch_threads=2
    )


def test_compose_mounts_what_its_flags_name(service: Any) -> None:
    mounted = dict(volume.split(":")[:2][::-1] for volume in service["volumes"][1:])
    for inside, outside in mounted.items():
        assert (DEPLOY / outside).is_file()
        assert any(argument.endswith(f"={inside}") for argument in service["command"])
    assert service["image"] == f"tensorflow/serving:{TF_SERVING}"
    assert f"--model_name={MODEL_NAME}" in service["command"]
    assert f"--model_base_path=/models/{MODEL_NAME}" in service["command"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_compose_is_reached_from_this_machine_alone(service: Any) -> None:
    assert service["ports"] == ["127.0.0.1:8501:8501"]


def test_the_metrics_are_where_this_server_has_them() -> None:
    assert f'path: "{METRICS_PATH}"' in (DEPLOY / "monitoring.config").read_text()


def test_kserve_names_the_runtime() -> None:
    service = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())
    assert service["kind"] == "InferenceService"
    model = service["spec"]["predictor"]["model"]
    assert model["runtimeVersion"] == TF_SERVING
    assert model["modelFormat"]["name"] == "tensorflow"
    assert model["storageUri"].endswith(f"/{MODEL_NAME}")
