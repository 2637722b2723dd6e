"""The pipeline as a pipeline spec, which Kubeflow Pipelines and Vertex AI run."""

import copy
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
    KUBEFLOW_TFX_CMD,
    KubeflowV2DagRunner,
    KubeflowV2DagRunnerConfig,
)

from components.model.auto import resolve_settings
from components.model.weights import AUTO, IMAGENET, RANDOM
from data.contract.model import MODEL_NAME, push_destination
from data.contract.nodes import ACTIVATION_CACHE, MODEL_GATE, NEWEST_SPAN, TRAINER, TUNER
from data.served import tabulate
from pipeline.beam_args import beam_args, has_worker_processes, is_local
from pipeline.cluster.gate_tasks import add_gate_tasks
from pipeline.cluster.kubeflow_task import (
    DRIVER_OPTION,
    FOUND_BY_DRIVER,
    OUTPUTS_OPTION,
)
from pipeline.cluster.places import HOW_TO_MOUNT, Target, is_mounted, require_places
from pipeline.cluster.spec import (
    DATA_ROOT,
    KUBEFLOW_TASK,
    KUBERNETES,
    PLATFORM_SPEC,
    PUSH_DESTINATION,
)
from pipeline.config import Config, ConfigError, Resources
from pipeline.kubernetes import KubernetesSettings, executor_config
from pipeline.pipeline import UNCACHED, create_pipeline

_KUBEFLOW_COMMAND = ("python", "-m", KUBEFLOW_TASK)

_NOT_ALWAYS_THERE = {ACTIVATION_CACHE, TUNER}
"""Resources for these are not a mistake where the configuration does without the node."""

_BACKOFF = {"backoffDuration": "60s", "backoffFactor": 2, "backoffMaxDuration": "3600s"}
"""Between the attempts at a task. All of it must be said: Kubeflow Pipelines gives all tasks with
retries one template, which has the fields of the first."""


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
        A PipelineJob of the pipeline spec 2.1 as JSON values; and under `platformSpec`, what is
        asked of Kubernetes.

    Raises:
        ConfigError: a place, a node's name or an option does not suit the target.
        ComponentError: the weights are not available.
        DataError: the photos served cannot be read.
    """
    root = root.rstrip("/")
    serving = serving or f"{root}/serving/{MODEL_NAME}"
    places = {"--root": root, "--data": data, "--serving": serving}
    _require_platform(target, config)
    if config.vertex is not None:
        del places["--serving"]  # the model goes to an endpoint
    require_places(target, places, config.kubernetes.mounts)
    _require_weights(target, config)
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
    add_gate_tasks(spec, image)
    for name, parameter in spec["root"]["inputDefinitions"]["parameters"].items():
        parameter["defaultValue"] = defaults[name]
    if on_kubeflow:
        _fit_for_kubeflow(spec)
    _add_resources(spec, config)
    _add_retries(spec, config)
    if asked := _kubernetes_executors(spec, config):
        platform = {KUBERNETES: {"deploymentSpec": {"executors": asked}}}
        job[PLATFORM_SPEC] = {"platforms": platform}
    if config.vertex is None:  # an endpoint need not get the same model again
        _uncache(spec, UNCACHED)
    return job


def _require_weights(target: Target, config: Config) -> None:
    """Refuses a file that the tasks would not find."""
    weights = config.model.weights
    if weights in (AUTO, IMAGENET, RANDOM) or "://" in weights:
        return
    if not is_mounted(weights, config.kubernetes.mounts):
        raise ConfigError(
            f"model.weights = {weights}: the tasks do not see the files of this machine; name a "
            "copy in gs://"
            + (f", or one in a volume: {HOW_TO_MOUNT}" if target == "kubeflow" else "")
        )


def _require_platform(target: Target, config: Config) -> None:
    if target not in get_args(Target):
        raise ConfigError(f"--target {target}: choose from {', '.join(get_args(Target))}")
    if target == "vertex":
        _require_nothing_of_kubernetes(config)
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


def _require_nothing_of_kubernetes(config: Config) -> None:
    if config.kubernetes != KubernetesSettings():
        raise ConfigError("kubernetes = ...: it goes with --target kubeflow; leave it out")
    timeouts = {"tasks": config.tasks.timeout_minutes} | {
        f"resources.{node}": wanted.timeout_minutes for node, wanted in config.resources.items()
    }
    for section, minutes in timeouts.items():
        if minutes is not None:
            raise ConfigError(
                f"{section}.timeout_minutes = {minutes}: Vertex AI has no time-out for a task; "
                "leave it out"
            )


def _resolved(config: Config) -> Config:
    """Fills in `auto`: the weights by what is available here, the rest by what is asked for."""
    model, _ = resolve_settings(config.model)
    gpu = config.resources.get(TRAINER, Resources()).gpu > 0
    return config.with_model(model).with_augmentation_mode(gpu=gpu)


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
        if found := {key: limit for key, limit in limits.items() if limit is not None}:
            containers[node]["resources"] = found


def _add_retries(spec: dict[str, Any], config: Config) -> None:
    for name, _ in _containers(spec):
        if name == MODEL_GATE:  # its answer stays the same
            continue
        own = config.resources.get(name, Resources()).retries
        retries = config.tasks.retries if own is None else own
        if retries:
            policy = {"maxRetryCount": retries, **_BACKOFF}
            spec["root"]["dag"]["tasks"][name]["retryPolicy"] = policy


def _kubernetes_executors(spec: dict[str, Any], config: Config) -> dict[str, Any]:
    """What is asked of Kubernetes, by the label of the executor."""
    found = {}
    for name, _ in _containers(spec):
        own = config.resources.get(name, Resources()).timeout_minutes
        asked = executor_config(
            config.kubernetes, timeout_minutes=own or config.tasks.timeout_minutes
        )
        if asked:
            found[spec["components"][name]["executorLabel"]] = asked
    return found


def _fit_for_kubeflow(spec: dict[str, Any]) -> None:
    """Does without what Vertex AI has and Kubeflow Pipelines lacks: drivers in hooks."""
    of_tfx = [each for each in _containers(spec) if KUBEFLOW_TASK in each[1]["command"]]
    for name, container in of_tfx:
        if lifecycle := container.pop("lifecycle", None):
            *_, module = lifecycle["preCacheCheck"]["command"]
            _run_before(spec, name, container, module)
        outputs = spec["components"][name]["outputDefinitions"]["artifacts"]
        container["args"] = [f"{OUTPUTS_OPTION}={','.join(sorted(outputs))}", *container["args"]]


def _run_before(spec: dict[str, Any], name: str, container: dict[str, Any], driver: str) -> None:
    """Makes a driver a task of its own, before the one it is for.

    What it finds are parameters, by whose values the cache knows the data, as on Vertex AI. It runs
    every time itself.
    """
    tasks, components = spec["root"]["dag"]["tasks"], spec["components"]
    task, component = tasks[name], components[name]
    types = {key: {"parameterType": kind} for key, kind in FOUND_BY_DRIVER.items()}
    label = f"{NEWEST_SPAN}_executor"
    components[NEWEST_SPAN] = {
        "executorLabel": label,
        "inputDefinitions": copy.deepcopy(component["inputDefinitions"]),
        "outputDefinitions": {"parameters": types},
    }
    tasks[NEWEST_SPAN] = {
        "taskInfo": {"name": NEWEST_SPAN},
        "componentRef": {"name": NEWEST_SPAN},
        "inputs": copy.deepcopy(task["inputs"]),
    }
    arguments = [f"{DRIVER_OPTION}={driver}", *container["args"]]
    spec["deploymentSpec"]["executors"][label] = {"container": {**container, "args": arguments}}
    component["inputDefinitions"]["parameters"] |= types
    task["inputs"]["parameters"] |= {
        key: {"taskOutputParameter": {"producerTask": NEWEST_SPAN, "outputParameterKey": key}}
        for key in types
    }
    task.setdefault("dependentTasks", []).append(NEWEST_SPAN)


def _uncache(spec: dict[str, Any], nodes: Iterable[str]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    for node in tasks.keys() & nodes:
        tasks[node]["cachingOptions"] = {"enableCache": False}


def as_text(job: dict[str, Any], suffix: str) -> str:
    """A compiled pipeline as the text of a file.

    Args:
        job: from `compile_spec`.
        suffix: `.json` for a PipelineJob; `.yaml` or `.yml` for its pipeline spec, followed by what
            is asked of Kubernetes as a document of its own, as Kubeflow Pipelines takes them.
    """
    if suffix == ".json":
        # Vertex AI's client reads it as YAML, where a surrogate pair is not a character.
        return json.dumps(job, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    import yaml

    documents = [job[key] for key in ("pipelineSpec", PLATFORM_SPEC) if key in job]
    return str(yaml.safe_dump_all(documents, sort_keys=True))
