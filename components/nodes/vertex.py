"""Trainer and Pusher on Vertex AI: TFX's Google Cloud executors and what they are told.

Importing this takes 15 seconds of CPU, because of google.cloud.aiplatform.
"""

import logging
from typing import Any

from google.cloud import aiplatform
from tfx import types
from tfx.extensions.google_cloud_ai_platform.constants import (
    ENABLE_VERTEX_KEY,
    SERVING_ARGS_KEY,
    VERTEX_CONTAINER_IMAGE_URI_KEY,
    VERTEX_REGION_KEY,
)
from tfx.extensions.google_cloud_ai_platform.pusher import executor as pusher
from tfx.extensions.google_cloud_ai_platform.trainer.executor import (
    TRAINING_ARGS_KEY,
    GenericExecutor,
)
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils

from components.nodes.trainer import TrainerExecutor, name_weights

_LOG = logging.getLogger(__name__)


class VertexTrainerExecutor(GenericExecutor):
    """TFX's executor that trains in a custom job, here with our Trainer's executor inside."""

    def _GetExecutorClass(self) -> type[TrainerExecutor]:  # noqa: N802 (TFX's name)
        return TrainerExecutor

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        # What the executor recorded on its artifacts has stayed in the job.
        name_weights(output_dict)


class VertexPusherExecutor(pusher.Executor):
    """TFX's executor that deploys a model at an endpoint, here with an end to those before it."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if pushed.get_int_custom_property("pushed"):
            config = json_utils.loads(exec_properties["custom_config"])
            serving, region = config[SERVING_ARGS_KEY], config[VERTEX_REGION_KEY]
            try:
                _undeploy_idle(serving, region)
            except Exception as error:  # the client has no error class of its own
                # The model is served by now; a task that fails would be tried again and push again.
                _LOG.warning(
                    "endpoint %s: the models before may keep their servers (%s); end those without "
                    "requests by `gcloud ai endpoints undeploy-model`, or let the next push do it",
                    serving["endpoint_name"],
                    " ".join(str(error).split()),
                )


def _undeploy_idle(serving: dict[str, Any], region: str) -> None:
    """Ends the servers of what gets no requests any more; the models themselves are kept."""
    (endpoint, *_) = aiplatform.Endpoint.list(
        filter=f'display_name="{serving["endpoint_name"]}"',
        project=serving["project_id"],
        location=region,
    )
    traffic = endpoint.traffic_split
    if not any(traffic.values()):  # then nothing tells the new model from those before it
        raise RuntimeError(f"endpoint {serving['endpoint_name']} sends its requests nowhere")
    for deployed in endpoint.list_models():
        if not traffic.get(deployed.id):
            endpoint.undeploy(deployed.id)


def training_config(
    *,
    project: str,
    region: str,
    image: str,
    machine: str,
    gpu: int,
    gpu_type: str | None,
    replicas: int = 1,
) -> dict[str, Any]:
    """The Trainer's `custom_config` for a custom job.

    Source of the format: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/CustomJobSpec.

    Args:
        project: of Google Cloud.
        region: of Vertex AI, as in `us-central1`.
        image: the pipeline's container image.
        machine: a machine type, as in `n1-standard-8`.
        gpu: how many accelerators each machine has.
        gpu_type: as in `NVIDIA_TESLA_T4`; needed if there are any.
        replicas: how many machines train together.
    """
    machine_spec: dict[str, Any] = {"machine_type": machine}
    if gpu:
        machine_spec |= {"accelerator_type": gpu_type, "accelerator_count": gpu}
    counts = (
        [1, replicas - 1] if replicas > 1 else [1]
    )  # the chief, by Vertex AI's rule, and others
    pools = [
        {
            "machine_spec": machine_spec,
            "replica_count": count,
            "container_spec": {"image_uri": image},
        }
        for count in counts
    ]
    return {
        ENABLE_VERTEX_KEY: True,
        VERTEX_REGION_KEY: region,
        TRAINING_ARGS_KEY: {"project": project, "job_spec": {"worker_pool_specs": pools}},
    }


def serving_config(
    *, project: str, region: str, endpoint: str, machine: str, image: str
) -> dict[str, Any]:
    """The Pusher's `custom_config` for an endpoint.

    Args:
        project: of Google Cloud.
        region: of Vertex AI.
        endpoint: display name; it is created if it does not exist.
        machine: the machine type of its servers.
        image: a prebuilt prediction container of Vertex AI.
    """
    return {
        ENABLE_VERTEX_KEY: True,
        VERTEX_REGION_KEY: region,
        VERTEX_CONTAINER_IMAGE_URI_KEY: image,
        SERVING_ARGS_KEY: {
            "project_id": project,
            "endpoint_name": endpoint,
            "machine_type": machine,
        },
    }
