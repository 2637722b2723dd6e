"""The pipeline as a pipeline spec, which Kubeflow Pipelines and Vertex AI run."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KUBEFLOW_TFX_CMD,
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)

from components.model.auto import resolve_settings
from data.contract.model import MODEL_NAME, push_destination
from data.contract.nodes import ACTIVATION_CACHE, IMPORT_EXAMPLE_GEN, TRAINER
from data.served import tabulate
from pipeline.beam_args import beam_args, has_worker_processes, is_local
from pipeline.cluster.kubeflow_task import DRIVER_OPTION
from pipeline.cluster.spec import DATA_ROOT, PUSH_DESTINATION
from pipeline.config import Config, ConfigError, Resources
from pipeline.pipeline import UNCACHED, create_pipeline

Target = Literal["kubeflow", "vertex"]

_KUBEFLOW_COMMAND = ("python", "-m", "pipeline.cluster.kubeflow_task")

_NOT_ALWAYS_THERE = {ACTIVATION_CACHE}
"""Resources for these are not a mistake where the configuration does without the node."""

_SCHEMES: dict[Target, dict[str, tuple[str, ...]]] = {
    "vertex": {"--root": ("gs://",), "--data": ("gs://",), "--serving": ("gs://",)},
    "kubeflow": {
        "--root": ("gs://", "s3://", "minio://"),
        "--data": ("gs://", "/"),
        "--serving": ("gs://", "/"),
    },
}
"""What a place may begin with: artifacts go where the platform can write, the rest where
TensorFlow can; a path is that of a volume mounted into every task."""


def compile_spec(
    config: Config,
    target: Target,
    *,
    image: str,
    root: str,
    data: str,
    serving: str | None = None,
) -> dict[str, Any]:
    """Compiles the pipeline; neither data nor credentials are needed.

    Args:
        config: the configuration; `auto` is filled in here.
        target: `kubeflow` for Kubeflow Pipelines, `vertex` for Vertex AI Pipelines.
        image: the container image of every task.
        root: where artifacts go: the default of a run's pipeline root.
        data: the folder of `span-N` folders: the default of the parameter `data_root`.
        serving: the folder of model versions, `root`/serving/dog_emotion by default: the default
            of the parameter `push_destination`.

    Returns:
        A PipelineJob of the pipeline spec 2.1 as JSON values.

    Raises:
        ConfigError: a place, a node's name or an option does not suit the target.
        ComponentError: the weights are not available.
        DataError: the photos served cannot be read.
    """
    root = root.rstrip("/")
    serving = serving or f"{root}/serving/{MODEL_NAME}"
    places = {"--root": root, "--data": data, "--serving": serving}
    _require_platform(target, config)
    if config.vertex is None:
        _require_places(target, places)
    else:
        _require_places(target, {key: places[key] for key in ("--root", "--data")})
    on_kubeflow = target == "kubeflow"
    defaults = {DATA_ROOT: data, PUSH_DESTINATION: push_destination(serving)}
    pipeline = create_pipeline(
        _resolved(config),
        pipeline_root=root,
        data_root=RuntimeParameter(DATA_ROOT, ptype=str),
        push_destination=RuntimeParameter(PUSH_DESTINATION, ptype=str),
        served=tabulate(Path(config.data_gate.served)) if config.data_gate.served else "",
        beam_pipeline_args=beam_args(config.beam, image=image, root=root),
        platform=target,
        image=image,
    )
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(
            default_image=image,
            default_commands=_KUBEFLOW_COMMAND if on_kubeflow else KUBEFLOW_TFX_CMD,
            use_pipeline_spec_2_1=True,
        )
    )
    job = runner.run(pipeline, write_out=False)
    spec = job["pipelineSpec"]
    spec["defaultPipelineRoot"] = root
    for name, parameter in spec["root"]["inputDefinitions"]["parameters"].items():
        parameter["defaultValue"] = defaults[name]
    _add_resources(spec, config)
    if on_kubeflow:
        _fit_for_kubeflow(spec)
    if config.vertex is None:  # an endpoint need not get the same model again
        _uncache(spec, UNCACHED)
    return job


def _require_places(target: Target, places: dict[str, str]) -> None:
    for option, place in places.items():
        allowed = _SCHEMES[target][option]
        if not place.startswith(allowed):
            raise ConfigError(
                f"{option} {place}: on {target} it must begin with {' or '.join(allowed)}"
            )


def _require_platform(target: Target, config: Config) -> None:
    if target not in get_args(Target):
        raise ConfigError(f"--target {target}: choose from {', '.join(get_args(Target))}")
    if target == "kubeflow" and config.vertex is not None:
        raise ConfigError("vertex = ...: it goes with --target vertex; leave out --profile vertex")
    if config.training.warm_start:
        raise ConfigError(
            "training.warm_start = true: it is for `run`; in a compiled pipeline leave it out"
        )
    if has_worker_processes(config.beam):
        raise ConfigError(
            "beam.direct_running_mode = multi_processing: it is for `run` and `data`; in a "
            "compiled pipeline take --profile dataflow"
        )
    if target == "kubeflow" and not is_local(config.beam):
        raise ConfigError(
            f"beam.runner = {config.beam['runner']}: on Kubeflow the artifacts are local copies, "
            "which other machines cannot see; leave it out, or take --target vertex"
        )


def _resolved(config: Config) -> Config:
    """Fills in `auto`: the weights by what is available here, the rest by what is asked for."""
    model, _ = resolve_settings(config.model)
    gpu = config.resources.get(TRAINER, Resources()).gpu > 0
    return config.model_copy(update={"model": model}).with_augmentation_mode(gpu=gpu)


def _containers(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks that run in a container, and what runs there."""
    for name, component in spec["components"].items():
        executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
        if "container" in executor:
            yield name, executor["container"]


def _add_resources(spec: dict[str, Any], config: Config) -> None:
    containers = dict(_containers(spec))
    for node, wanted in config.resources.items():
        if node not in containers:
            if node in _NOT_ALWAYS_THERE:
                continue
            known = ", ".join(sorted(containers))
            raise ConfigError(f"resources.{node}: no such node; the nodes are {known}")
        limits: dict[str, Any] = {"cpuLimit": wanted.cpu, "memoryLimit": wanted.memory_gb}
        trains_elsewhere = node == TRAINER and config.vertex is not None
        if wanted.gpu and not trains_elsewhere:
            limits["accelerator"] = {"type": wanted.gpu_type, "count": str(wanted.gpu)}
        containers[node]["resources"] = {
            key: limit for key, limit in limits.items() if limit is not None
        }


def _fit_for_kubeflow(spec: dict[str, Any]) -> None:
    """Does without what Vertex AI has and Kubeflow Pipelines lacks: drivers in hooks."""
    for _, container in _containers(spec):
        if lifecycle := container.pop("lifecycle", None):
            *_, module = lifecycle["preCacheCheck"]["command"]
            container["args"] = [f"{DRIVER_OPTION}={module}", *container["args"]]
    # Without its driver, the span that it reads is not an input that the cache could know.
    _uncache(spec, [IMPORT_EXAMPLE_GEN])


def _uncache(spec: dict[str, Any], nodes: Iterable[str]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    for node in tasks.keys() & nodes:
        tasks[node]["cachingOptions"] = {"enableCache": False}


def as_text(job: dict[str, Any], suffix: str) -> str:
    """A compiled pipeline as the text of a file.

    Args:
        job: from `compile_spec`.
        suffix: `.json` for a PipelineJob, `.yaml` or `.yml` for its pipeline spec alone.
    """
    if suffix == ".json":
        # Vertex AI's client reads it as YAML, where a surrogate pair is not a character.
        return json.dumps(job, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    import yaml

    return str(yaml.safe_dump(job["pipelineSpec"], sort_keys=True))
