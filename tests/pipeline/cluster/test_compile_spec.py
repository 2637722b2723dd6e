import copy
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from tfx.components.evaluator.executor import Executor
from tfx.utils.import_utils import import_class_by_path

import pipeline
from components.model.backbone import find
from components.nodes.schema import curated_schema
from components.nodes.vertex import VertexPusherExecutor, VertexTrainerExecutor
from data.contract.errors import Exit
from data.contract.model import base_directory, push_destination
from data.drawn_dogs import draw_dataset
from pipeline.beam_args import LOCAL_BEAM_ARGS
from pipeline.cli import main
from pipeline.cluster.compile_spec import as_text, compile_spec
from pipeline.cluster.places import Target
from pipeline.cluster.spec import read_spec
from pipeline.config import ConfigError, load_config
from pipeline.pipeline import create_pipeline

Job = dict[str, Any]

IMAGE = "registry.example/dog-emotion:1"
ROOT = "gs://bucket/runs"
DATA = "gs://bucket/data"
RESOLVED = ("model.weights=random", "training.augmentation.mode=cached")
VOLUME = 'kubernetes.volumes=[{claim="photos", mount="/mnt"}]'
ON_THE_FLY = "training.augmentation.mode=on_the_fly"
T4 = ("resources.Trainer.gpu=2", "resources.Trainer.gpu_type=NVIDIA_TESLA_T4")
PLACES_HERE = (str(Path(pipeline.__file__).parents[1]), sys.prefix, "site-packages")


def compiled(
    target: Target,
    *overrides: str,
    over: str | None = None,
    image: str = IMAGE,
    root: str = ROOT,
    data: str = DATA,
    serving: str | None = None,
) -> Job:
    """The tiny profile, with another one laid over it, as a job."""
    profiles = ["tiny", over] if over else ["tiny"]
    config = load_config(*profiles, overrides=(*RESOLVED, *overrides))
    return compile_spec(config, target, image=image, root=root, data=data, serving=serving)


def error_of(target: Target, *overrides: str, **others: Any) -> str:
    """The message of a refusal: always one line."""
    with pytest.raises(ConfigError) as caught:
        compiled(target, *overrides, **others)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.fixture(scope="module")
def vertex() -> Job:
    return compiled("vertex")


@pytest.fixture(scope="module")
def kubeflow() -> Job:
    return compiled("kubeflow")


@pytest.fixture(scope="module")
def on_vertex() -> Job:
    """With the profile for Vertex AI, and a GPU."""
    return compiled("vertex", "vertex.project=p", *T4, over="vertex")


@pytest.fixture(params=["kubeflow", "vertex"])
def job(request: pytest.FixtureRequest) -> Job:
    """The job for either target."""
    return dict(request.getfixturevalue(request.param))


def tasks(job: Job) -> dict[str, Any]:
    return dict(job["pipelineSpec"]["root"]["dag"]["tasks"])


def executor(job: Job, task: str) -> dict[str, Any]:
    spec = job["pipelineSpec"]
    component = spec["components"][tasks(job)[task]["componentRef"]["name"]]
    return dict(spec["deploymentSpec"]["executors"][component["executorLabel"]])


def containers(job: Job) -> dict[str, Any]:
    """What the tasks run, except those that a platform resolves itself."""
    executors = {task: executor(job, task) for task in tasks(job)}
    return {task: each["container"] for task, each in executors.items() if "container" in each}


def argument(job: Job, task: str, option: str) -> str:
    arguments = containers(job)[task]["args"]
    return str(arguments[arguments.index(option) + 1])


def producer(job: Job, task: str, key: str) -> str:
    """The task that an input comes from."""
    given = tasks(job)[task]["inputs"]["artifacts"][key]
    return str(given["taskOutputArtifact"]["producerTask"])


def cacheable(job: Job) -> dict[str, Any]:
    return {task: tasks(job)[task] for task in containers(job)}


def constant(job: Job, task: str, parameter: str) -> Any:
    return tasks(job)[task]["inputs"]["parameters"][parameter]["runtimeValue"]["constant"]


def texts(value: Any) -> Iterator[str]:
    """Every string in a job, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def test_the_schema_is_that_of_kubeflow_pipelines_2(job: Job) -> None:
    assert job["pipelineSpec"]["schemaVersion"] == "2.1.0"
    assert job["pipelineSpec"]["pipelineInfo"] == {"name": "dog-emotion"}


def test_every_task_runs_in_the_image(job: Job) -> None:
    assert {each["image"] for each in containers(job).values()} == {IMAGE}


@pytest.mark.parametrize("overrides", [(), (ON_THE_FLY,)])
def test_the_tasks_are_the_nodes_of_a_local_run_but_for_the_last_model_and_the_verdict(
    overrides: tuple[str, ...],
) -> None:
    local = create_pipeline(
        load_config("tiny", overrides=(*RESOLVED, *overrides)),
        pipeline_root="/nowhere",
        data_root="/nowhere",
        push_destination=push_destination("/nowhere"),
        beam_pipeline_args=LOCAL_BEAM_ARGS,
    )
    shared = {node.id for node in local.components}
    shared -= {"EarlierStatistics", "DriftValidator", "LastPushedModel", "BestPushedModel"}
    shared |= {"Verdict", "ModelGate"}
    assert {*tasks(compiled("kubeflow", *overrides))} == shared | {
        "NewestSpan",
        "LatestPushedModel",
        "BestPushedModel",
    }
    assert {*tasks(compiled("vertex", *overrides))} == shared | {
        "LatestBlessedModel-model-blessing-resolver",
        "LatestBlessedModel-model-resolver",
    }


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_photos_served_are_counted_where_it_is_compiled(target: Target, tmp_path: Path) -> None:
    draw_dataset(tmp_path, per_class=20, seed=0)
    job = compiled(target, f"data_gate.served={tmp_path}")
    assert len(constant(job, "ServedStatistics", "table").splitlines()) == 81
    assert producer(job, "SkewValidator", "baseline_statistics") == "StatisticsGen"
    assert producer(job, "DataGate", "skew") == "SkewValidator"
    assert "drift" not in tasks(job)["DataGate"]["inputs"]["artifacts"]


@pytest.mark.parametrize("target", ["kubeflow", "vertex"])
def test_the_tuner_compiles_and_the_trainer_takes_what_it_finds(target: Target) -> None:
    job = compiled(target, "training.tune=true", "resources.Tuner.cpu=8")
    assert producer(job, "Tuner", "examples") == "ActivationCache"
    assert producer(job, "Trainer", "hyperparameters") == "Tuner"
    assert containers(job)["Tuner"]["resources"] == {"cpuLimit": 8.0}
    assert argument(job, "Tuner", "--executor_class_path").startswith("tfx.components.tuner.")
    assert {*tasks(job)} - {*tasks(compiled(target, "resources.Tuner.cpu=8"))} == {"Tuner"}


def test_a_run_may_name_places_other_than_the_compiled_ones(job: Job) -> None:
    parameters = job["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]
    defaults = {name: each["defaultValue"] for name, each in parameters.items()}
    assert defaults.keys() == {"data_root", "push_destination"}
    assert defaults["data_root"] == DATA
    assert base_directory(defaults["push_destination"]) == f"{ROOT}/serving/dog_emotion"
    assert {each["parameterType"] for each in parameters.values()} == {"STRING"}
    assert job["pipelineSpec"]["defaultPipelineRoot"] == ROOT
    used = {
        (task, key): given["componentInputParameter"]
        for task, each in tasks(job).items()
        for key, given in each.get("inputs", {}).get("parameters", {}).items()
        if "componentInputParameter" in given
    }
    takers = {
        "data_root": ("input_base", {"NewestSpan", "ImportExampleGen"}),
        "push_destination": (
            "push_destination",
            {"Pusher", "LatestPushedModel", "BestPushedModel"},
        ),
    }
    assert used == {
        (task, key): parameter
        for parameter, (key, names) in takers.items()
        for task in names & tasks(job).keys()
    }


def test_models_may_be_served_from_elsewhere() -> None:
    job = compiled(
        "kubeflow", VOLUME, root="s3://bucket/runs/", data="/mnt/data", serving="/mnt/models"
    )
    parameters = job["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]
    assert base_directory(parameters["push_destination"]["defaultValue"]) == "/mnt/models"
    assert parameters["data_root"]["defaultValue"] == "/mnt/data"
    assert job["pipelineSpec"]["defaultPipelineRoot"] == "s3://bucket/runs"


def test_vertex_looks_up_the_last_blessed_model(vertex: Job) -> None:
    blessing, model = (
        executor(vertex, f"LatestBlessedModel-{kind}-resolver")["resolver"]
        for kind in ("model-blessing", "model")
    )
    assert "blessed.number_value=1" in json.dumps(blessing)
    assert "current_model_id" in json.dumps(model)
    assert producer(vertex, "Evaluator", "baseline_model") == "LatestBlessedModel-model-resolver"
    assert "best_models" not in tasks(vertex)["Evaluator"]["inputs"]["artifacts"]


def test_tfx_puts_the_names_of_models_into_our_blessing_by_which_vertex_finds_them(
    vertex: Job,
) -> None:
    """Its entry point does so for executors of this class alone."""
    path = argument(vertex, "Evaluator", "--executor_class_path")
    assert issubclass(import_class_by_path(path), Executor)


def test_kubeflow_looks_at_what_was_pushed(kubeflow: Job) -> None:
    assert not [task for task in tasks(kubeflow) if "resolver" in executor(kubeflow, task)]
    assert producer(kubeflow, "Evaluator", "baseline_model") == "LatestPushedModel"
    assert producer(kubeflow, "Evaluator", "best_models") == "BestPushedModel"


def test_vertex_runs_the_driver_before_it_looks_into_its_cache(vertex: Job) -> None:
    hooks = {task for task, each in containers(vertex).items() if "lifecycle" in each}
    assert hooks == {"ImportExampleGen"}
    uncached = {
        task
        for task, each in cacheable(vertex).items()
        if not each["cachingOptions"].get("enableCache", False)
    }
    assert uncached == {"Verdict", "ModelGate", "Pusher"}, "it looks at the versions each time"


def test_on_kubeflow_the_driver_is_a_task_whose_findings_are_what_the_cache_knows_the_data_by(
    vertex: Job, kubeflow: Job
) -> None:
    (driver,) = containers(vertex)["ImportExampleGen"]["lifecycle"]["preCacheCheck"]["command"][-1:]
    for task, each in containers(kubeflow).items():
        assert "lifecycle" not in each
        drivers = [argument for argument in each["args"] if argument.startswith("--driver")]
        assert drivers == ([f"--driver={driver}"] if task == "NewestSpan" else [])
    given = tasks(kubeflow)["ImportExampleGen"]["inputs"]["parameters"]
    found = {key for key, each in given.items() if "taskOutputParameter" in each}
    assert found == {"span", "input_fingerprint", "input_config"}
    assert "{SPAN}" in constant(kubeflow, "NewestSpan", "input_config")
    uncached = {
        task
        for task, each in cacheable(kubeflow).items()
        if not each.get("cachingOptions", {}).get("enableCache", False)
    }
    assert uncached == {
        "NewestSpan",
        "LatestPushedModel",
        "BestPushedModel",
        "Verdict",
        "ModelGate",
        "Pusher",
    }


def test_a_task_is_told_which_outputs_its_component_declares(kubeflow: Job) -> None:
    said = {task: each["args"][0] for task, each in containers(kubeflow).items()}
    assert said["Evaluator"] == "--outputs=blessing,evaluation"
    assert said["ImportExampleGen"] == "--outputs=examples"


def test_every_task_starts_the_entry_point_of_its_target(vertex: Job, kubeflow: Job) -> None:
    def commands(job: Job) -> set[str]:
        return {
            " ".join(each["command"])
            for task, each in containers(job).items()
            if task not in ("Verdict", "ModelGate")
        }

    assert commands(kubeflow) == {"python -m pipeline.cluster.kubeflow_task"}
    assert commands(vertex) == {
        "python -m tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
    }


@pytest.mark.parametrize("target", get_args(Target))
def test_resources_reach_the_task_that_they_are_for_and_no_other(target: Target) -> None:
    job = compiled(
        target,
        "resources.Transform.cpu=4",
        "resources.Transform.memory_gb=7.5",
        "resources.Trainer.gpu=2",
        "resources.Trainer.gpu_type=nvidia.com/gpu",
    )
    found = {
        task: each["resources"] for task, each in containers(job).items() if "resources" in each
    }
    assert found == {
        "Transform": {"cpuLimit": 4.0, "memoryLimit": 7.5},
        "Trainer": {"accelerator": {"type": "nvidia.com/gpu", "count": "2"}},
    }


def test_resources_of_no_node_are_answered_with_the_nodes_that_exist() -> None:
    message = error_of("vertex", "resources.Train.cpu=2")
    assert message.startswith("resources.Train: no such node; the nodes are ActivationCache, C")
    assert "Trainer" in message


def test_resources_of_the_cache_are_for_whenever_there_is_one() -> None:
    job = compiled("kubeflow", ON_THE_FLY, "resources.ActivationCache.cpu=8")
    assert "ActivationCache" not in tasks(job)
    assert not [each for each in containers(job).values() if "resources" in each]


def test_every_task_has_what_is_asked_of_kubernetes(tmp_path: Path) -> None:
    job = compiled("kubeflow", VOLUME, "kubernetes.node_selector.disk=ssd")
    asked = job["platformSpec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    labels = {each["executorLabel"] for each in job["pipelineSpec"]["components"].values()}
    assert asked.keys() == labels
    for each in asked.values():
        assert each == {
            "pvcMount": [{"constant": "photos", "mountPath": "/mnt"}],
            "nodeSelector": {"labels": {"disk": "ssd"}},
        }


def test_a_time_out_is_for_all_tasks_or_one(kubeflow: Job) -> None:
    job = compiled("kubeflow", "tasks.timeout_minutes=10", "resources.Trainer.timeout_minutes=600")
    asked = job["platformSpec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert asked.pop("Trainer_executor") == {"activeDeadlineSeconds": 36_000}
    assert {each["activeDeadlineSeconds"] for each in asked.values()} == {600}
    assert len(asked) == len(containers(job)) - 1
    assert "platformSpec" not in kubeflow


@pytest.mark.parametrize("target", get_args(Target))
def test_retries_are_for_all_tasks_or_one(target: Target) -> None:
    job = compiled(target, "tasks.retries=2", "resources.Trainer.retries=0")
    policies = {task: each.get("retryPolicy") for task, each in tasks(job).items()}
    assert policies.pop("Trainer") is None
    assert policies.pop("ModelGate") is None, "its answer stays the same"
    found = {json.dumps(policies[task]) for task in containers(job) if task in policies}
    (policy,) = map(json.loads, found)
    assert policy == {
        "maxRetryCount": 2,
        "backoffDuration": "60s",
        "backoffFactor": 2,
        "backoffMaxDuration": "3600s",
    }
    resolvers = tasks(job).keys() - containers(job).keys()
    assert not [task for task in resolvers if policies[task]]
    assert not [each for each in containers(job).values() if "resources" in each]


@pytest.mark.parametrize("target", get_args(Target))
def test_without_settings_a_task_is_tried_once(
    target: Target, request: pytest.FixtureRequest
) -> None:
    job = request.getfixturevalue(target)
    assert not [each for each in tasks(job).values() if "retryPolicy" in each]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (VOLUME, "kubernetes = ...: it goes with --target kubeflow; leave it out"),
        ("tasks.timeout_minutes=5", "tasks.timeout_minutes = 5: Vertex AI has no time-out for a"),
        (
            "resources.Trainer.timeout_minutes=5",
            "resources.Trainer.timeout_minutes = 5: Vertex AI has no time-out for a task; leave",
        ),
    ],
)
def test_what_vertex_lacks_is_refused(override: str, message: str) -> None:
    assert error_of("vertex", override).startswith(message)


@pytest.mark.parametrize("target", get_args(Target))
@pytest.mark.parametrize("place", ["mine.weights.h5", "/mnt/mine.weights.h5"])
def test_weights_that_only_this_machine_has_are_refused(target: Target, place: str) -> None:
    message = error_of(target, f"model.weights={place}")
    assert message.startswith(f"model.weights = {place}: the tasks do not see the files of this")
    assert "gs://" in message
    assert ("kubernetes.volumes" in message) == (target == "kubeflow")


def test_weights_may_be_in_a_volume_that_is_mounted_here_too(tmp_path: Path) -> None:
    """They are told from others by their content."""
    weights = tmp_path / "mine.weights.h5"
    find("tiny").build().save_weights(weights)
    volume = f'kubernetes.volumes=[{{claim="weights", mount="{tmp_path}"}}]'
    job = compiled("kubeflow", volume, f"model.weights={weights}")
    (member,) = json.loads(constant(job, "ActivationCache", "members"))
    assert member["weights"] == str(weights)


def test_auto_is_on_the_fly_where_the_trainer_has_a_gpu() -> None:
    auto = "training.augmentation.mode=auto"
    assert "ActivationCache" in tasks(compiled("vertex", auto))
    assert "ActivationCache" not in tasks(compiled("vertex", auto, *T4))
    assert "ActivationCache" not in tasks(
        compiled("vertex", auto, *T4, "vertex.project=p", over="vertex")
    )


@pytest.mark.parametrize(
    ("target", "places", "message"),
    [
        ("vertex", {"root": "/x"}, "--root /x: on vertex it must begin with gs://"),
        ("vertex", {"data": "/x"}, "--data /x: on vertex it must begin with gs://"),
        ("vertex", {"serving": "s3://b/x"}, "--serving s3://b/x: on vertex it must begin with gs"),
        ("kubeflow", {"root": "/x"}, "--root /x: on kubeflow it must begin with gs:// or s3:// or"),
        ("kubeflow", {"data": "s3://b/x"}, "--data s3://b/x: on kubeflow it must begin with gs://"),
        ("kubeflow", {"data": "x"}, "--data x: on kubeflow it must begin with gs:// or /"),
        (
            "kubeflow",
            {"data": "/x"},
            "--data /x: nothing is mounted there; compile with --set 'kubernetes.vol",
        ),
        (
            "kubeflow",
            {"serving": "/x"},
            "--serving /x: nothing is mounted there; compile with --set 'kuber",
        ),
        (
            "kubeflow",
            {"root": "s3://b/runs"},
            "--serving s3://b/runs/serving/dog_emotion: on kubeflow it must begin with gs:// or /",
        ),
    ],
)
def test_a_place_that_the_platform_cannot_use_is_named_with_those_it_can(
    target: Target, places: dict[str, str], message: str
) -> None:
    assert error_of(target, **places).startswith(message)


def test_with_an_endpoint_no_folder_of_models_is_needed() -> None:
    compiled("vertex", "vertex.project=p", over="vertex", serving="/nowhere")
    with pytest.raises(ConfigError, match="--root"):
        compiled("vertex", "vertex.project=p", over="vertex", root="/nowhere")


@pytest.mark.parametrize(
    ("over", "override", "message"),
    [
        ("vertex", "vertex.project=p", "vertex = ...: it goes with --target vertex"),
        ("dataflow", "beam.project=p", "beam.runner = DataflowRunner: on Kubeflow"),
    ],
)
def test_what_kubeflow_lacks_is_refused(over: str, override: str, message: str) -> None:
    assert error_of("kubeflow", override, over=over).startswith(message)


@pytest.mark.parametrize("target", get_args(Target))
def test_worker_processes_are_for_a_local_run_alone(target: Target) -> None:
    message = error_of(target, "beam.direct_running_mode=multi_processing")
    assert message.startswith("beam.direct_running_mode = multi_processing: it is for `run` and")


@pytest.mark.parametrize("target", get_args(Target))
def test_a_warm_start_is_for_a_local_run_alone(target: Target) -> None:
    message = error_of(target, "training.warm_start=true")
    assert message.startswith("training.warm_start = true: it is for `run`")


def test_any_other_platform_is_answered_with_the_two() -> None:
    target: Any = "airflow"
    assert error_of(target) == "--target airflow: choose from kubeflow, vertex"


def test_vertex_trains_in_a_custom_job_of_the_image(on_vertex: Job) -> None:
    name = f"{VertexTrainerExecutor.__module__}.{VertexTrainerExecutor.__qualname__}"
    assert argument(on_vertex, "Trainer", "--executor_class_path") == name
    config = json.loads(constant(on_vertex, "Trainer", "custom_config"))
    assert config["ai_platform_enable_vertex"] is True
    assert config["ai_platform_vertex_region"] == "us-central1"
    job = config["ai_platform_training_args"]
    assert job["project"] == "p"
    (pool,) = job["job_spec"]["worker_pool_specs"]
    assert pool["container_spec"]["image_uri"] == IMAGE
    assert pool["machine_spec"] == {
        "machine_type": "n1-standard-8",
        "accelerator_type": "NVIDIA_TESLA_T4",
        "accelerator_count": 2,
    }
    assert config["model"]["backbone"] == "tiny"


def test_the_task_that_waits_for_the_custom_job_holds_no_gpu(on_vertex: Job) -> None:
    assert "accelerator" not in containers(on_vertex)["Trainer"].get("resources", {})


def test_the_profile_for_vertex_gives_the_cache_a_larger_machine(on_vertex: Job) -> None:
    limits = {"cpuLimit": 8.0, "memoryLimit": 16.0}
    assert containers(on_vertex)["ActivationCache"]["resources"] == limits


def test_vertex_serves_at_an_endpoint(on_vertex: Job) -> None:
    name = f"{VertexPusherExecutor.__module__}.{VertexPusherExecutor.__qualname__}"
    assert argument(on_vertex, "Pusher", "--executor_class_path") == name
    config = json.loads(constant(on_vertex, "Pusher", "custom_config"))
    serving = config["ai_platform_serving_args"]
    assert serving["project_id"] == "p"
    assert serving["endpoint_name"] == "dog-emotion"
    assert serving["machine_type"] == "n1-standard-4"
    assert "tf2-cpu" in config["ai_platform_vertex_container_image_uri"]


def test_without_the_profile_vertex_trains_and_pushes_as_a_local_run(vertex: Job) -> None:
    trainer, pusher = (
        argument(vertex, task, "--executor_class_path") for task in ("Trainer", "Pusher")
    )
    assert trainer == "components.nodes.trainer.TrainerExecutor"
    assert pusher == "components.nodes.pusher.PusherExecutor"


BEAM_TASKS = ("ImportExampleGen", "StatisticsGen", "Transform", "ActivationCache", "Evaluator")


@pytest.mark.parametrize("task", BEAM_TASKS)
def test_beam_runs_in_the_task_or_on_dataflow_in_the_image(vertex: Job, task: str) -> None:
    assert set(LOCAL_BEAM_ARGS) <= set(containers(vertex)[task]["args"])
    on_dataflow = compiled("vertex", "beam.project=p", over="dataflow")
    arguments = containers(on_dataflow)[task]["args"]
    assert {
        "--runner=DataflowRunner",
        "--project=p",
        f"--sdk_container_image={IMAGE}",
        f"--temp_location={ROOT}/beam",
    } <= set(arguments)
    assert not set(LOCAL_BEAM_ARGS) & set(arguments)


def test_the_same_configuration_compiles_to_the_same_text() -> None:
    assert as_text(compiled("kubeflow"), ".json") == as_text(compiled("kubeflow"), ".json")
    assert as_text(compiled("vertex"), ".yaml") == as_text(compiled("vertex"), ".yaml")


def test_a_setting_changes_only_the_task_that_uses_it(vertex: Job) -> None:
    other = tasks(compiled("vertex", "training.seed=1"))
    changed = {task for task, each in tasks(vertex).items() if each != other[task]}
    assert changed == {"Trainer", "Report"}  # which shows all settings


@pytest.mark.parametrize("name", ["kubeflow", "vertex", "on_vertex"])
def test_no_path_of_the_machine_that_compiles_is_in_it(
    name: str, request: pytest.FixtureRequest
) -> None:
    found = [*texts(request.getfixturevalue(name))]
    assert IMAGE in found
    assert not [text for text in found if any(place in text for place in PLACES_HERE)]


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_what_is_asked_of_kubernetes_is_read_from_a_file_of_either_kind(
    suffix: str, tmp_path: Path
) -> None:
    job = compiled("kubeflow", VOLUME, "resources.Trainer.timeout_minutes=5")
    file = tmp_path / f"spec{suffix}"
    file.write_text(as_text(job, suffix))
    spec = read_spec(file)
    assert spec.documents[1] == job["platformSpec"]
    assert all(spec.claims(task) == ["photos"] for task in spec.order)
    if suffix != ".json":  # as Kubeflow Pipelines reads it
        documents = [*yaml.safe_load_all(file.read_text())]
        assert documents == [job["pipelineSpec"], job["platformSpec"]]


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_a_file_of_either_kind_is_read_as_the_same_spec(
    job: Job, suffix: str, tmp_path: Path
) -> None:
    file, plain = tmp_path / f"spec{suffix}", tmp_path / "plain.json"
    file.write_text(as_text(job, suffix))
    plain.write_text(json.dumps(job["pipelineSpec"]))
    spec = read_spec(file)
    assert spec == read_spec(plain)
    assert set(spec.order) == set(tasks(job))
    assert spec.parameters["data_root"] == DATA
    assert len(spec.documents) == 1


def test_a_spec_needs_the_platform_that_it_was_compiled_for(
    vertex: Job, kubeflow: Job, tmp_path: Path
) -> None:
    for name, each in {"vertex": vertex, "kubeflow": kubeflow}.items():
        (tmp_path / name).write_text(as_text(each, ".yaml"))
        spec = read_spec(tmp_path / name)
        assert spec.needs_vertex == (name == "vertex")
        assert spec.needs_kubeflow == (name == "kubeflow")


def test_class_names_of_any_language_come_through_every_reader(vertex: Job) -> None:
    classes = ["fröhlich", "悲しい", "🐶"]
    job = compiled("vertex", f"classes={json.dumps(classes, ensure_ascii=False)}")
    text = curated_schema(classes)
    assert constant(job, "CuratedSchema", "text") == text
    as_json = as_text(job, ".json")
    for read in (json.loads(as_json), yaml.safe_load(as_json)):
        assert constant(read, "CuratedSchema", "text") == text
    as_yaml = yaml.safe_load(as_text(job, ".yaml"))
    assert constant({"pipelineSpec": as_yaml}, "CuratedSchema", "text") == text


def test_the_text_is_of_the_job_as_it_is(vertex: Job) -> None:
    before = copy.deepcopy(vertex)
    assert json.loads(as_text(vertex, ".json")) == before
    assert yaml.safe_load(as_text(vertex, ".yaml")) == before["pipelineSpec"]


@pytest.fixture
def compile_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command, in an empty folder; returns its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        places = ["--image", IMAGE, "--root", ROOT, "--data", DATA]
        return main(["compile", "--profile", "tiny", *places, *arguments])

    return run


@pytest.mark.parametrize("target", get_args(Target))
def test_the_command_writes_the_file_and_nothing_besides(
    compile_here: Callable[..., int],
    target: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compile_here("--target", target, "--out", "spec.json") == Exit.DONE
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]
    count = len(read_spec(tmp_path / "spec.json").order)
    said = capsys.readouterr()
    first, second, third = said.out.splitlines()
    assert first == f"spec.json: {count} tasks for {target}, image {IMAGE}"
    assert second.startswith(f"on {target} the data gate does not look for drift: ")
    assert third.startswith("a run trains on the newest span of the data alone: ")
    assert said.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "spec.txt"], "--out spec.txt: it must end in .json, .yaml, .yml"),
        (["--out", "none/spec.json"], "--out none/spec.json: there is no folder none"),
        (["--out", "s.json", "--set=training.epochs=1"], "training.epochs: no such key"),
        (["--out", "s.json", "--data", "here"], "--data here: on vertex it must begin with gs://"),
        (
            ["--out", "s.json", "--set=serving.promote=true"],
            "serving.promote = true: only `run` promotes",
        ),
    ],
)
def test_what_is_wrong_is_2_in_one_line_and_nothing_is_written(
    compile_here: Callable[..., int],
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compile_here("--target", "vertex", *arguments) == Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dog-emotion: {message}")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_available_are_1(
    compile_here: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("--set=model.weights=/mnt/none.weights.h5", f"--set={VOLUME}")
    assert compile_here("--target", "kubeflow", "--out", "s.json", *wanted) == Exit.FAILED
    assert capsys.readouterr().err == (
        "dog-emotion: weights '/mnt/none.weights.h5': there is no such file\n"
    )
