"""What a task meets on Kubeflow Pipelines: what its driver tells, and what its launcher does."""

import copy
import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from pipeline.cluster.executions import TaskError
from pipeline.cluster.run_spec import run_spec
from pipeline.cluster.spec import KUBEFLOW_TASK, parse_spec
from tests.pipeline.cluster.specs import (
    COMMANDS,
    MAKE,
    PUSH,
    TRAIN,
    Run,
    Values,
    artifact,
    component,
    container,
    content,
    how,
    output_of,
    spec_of,
    task,
    with_seed,
)

BUCKET = "gs://bucket/runs/photos"
TELL = """
logs = place(outputs["executor-logs"])
place(outputs["model"]).mkdir()
(place(outputs["model"]) / "content").write_text(json.dumps({
    "given": given,
    "copied": [str(file) for file in place(inputs["examples"][0]).rglob("*")],
    "logs": logs.is_file(),
    "folders": [key for key, each in outputs.items() if place(each).is_dir()],
}))
print("trained", flush=True)
end()
"""
LOOK = """
end(fingerprint=pathlib.Path(parameters["where"], "photos").read_text(), span=3)
"""


def kubeflow(script: str) -> Values:
    """A container of which the spec says that it is for Kubeflow."""
    found = container(script)
    program, *arguments = found["container"].pop("args")
    found["container"] |= {"command": ["python", "-c", program, KUBEFLOW_TASK], "args": arguments}
    return found


@pytest.fixture
def values() -> Values:
    """Look finds the photos, Make takes them, Train what Make made, Pusher what Train made."""
    found = ("fingerprint", "span")
    where = {"where": {"componentInputParameter": "data_root"}}
    looked = {
        key: {"taskOutputParameter": {"producerTask": "Look", "outputParameterKey": key}}
        for key in found
    }
    spec = spec_of(
        {
            "Look": task("Look", {}, where),
            "Make": task("Make", {}, where | looked),
            "Train": task(
                "Train",
                {"examples": output_of("Make", "examples")},
                {"seed": {"runtimeValue": {"constant": 5}}},
            ),
            "Pusher": task(
                "Pusher",
                {"model": output_of("Train", "model")},
                {"to": {"componentInputParameter": "push_destination"}},
            ),
        },
        {
            "Look": {
                "executorLabel": "Look",
                "outputDefinitions": {
                    "parameters": {
                        "fingerprint": {"parameterType": "STRING"},
                        "span": {"parameterType": "NUMBER_INTEGER"},
                    }
                },
            },
            "Make": component("Make", {"examples": artifact("Examples")}),
            "Train": component(
                "Train", {"model": artifact("Model"), "model_run": artifact("ModelRun")}
            ),
            "Pusher": component("Pusher", {"pushed_model": artifact("PushedModel")}),
        },
        {
            "Look": kubeflow(LOOK),
            "Make": kubeflow(MAKE),
            "Train": kubeflow(TRAIN),
            "Pusher": kubeflow(PUSH),
        },
    )
    for name in ("Look", "Pusher"):
        spec["root"]["dag"]["tasks"][name]["cachingOptions"] = {}
    return spec | {"defaultPipelineRoot": "gs://bucket/runs/"}


def with_script(values: Values, name: str, script: str) -> Values:
    """The same, with one task that runs something else."""
    changed = copy.deepcopy(values)
    changed["deploymentSpec"]["executors"][name] = kubeflow(script)
    return changed


def error_of(run: Run, values: Values) -> str:
    with pytest.raises(TaskError) as caught:
        run(values)
    (line,) = str(caught.value).splitlines()
    return line


def test_tasks_run_on_copies_of_what_those_before_them_made(
    run: Run, values: Values, root: Path
) -> None:
    executions = run(values)
    assert how(executions) == dict.fromkeys(("Look", "Make", "Train", "Pusher"), "run")
    assert content(executions, "Train", "model") == "dogs trained with seed 5"
    assert (root / "serving/dog_emotion/1").read_text() == "dogs trained with seed 5"


def test_a_task_is_told_what_the_driver_tells(run: Run, values: Values, root: Path) -> None:
    (_, made, trained, _) = run(with_script(values, "Train", TELL))
    (examples,) = made.outputs["examples"]
    told = json.loads((Path(trained.outputs["model"][0].uri) / "content").read_text())["given"]
    assert told["inputs"]["artifacts"]["examples"]["artifacts"] == [
        {
            "name": examples.name,
            "uri": f"{BUCKET}/1/Make/examples",
            "type": {"instanceSchema": ""},
            "metadata": {
                "span": 3,
                "split_names": '["train"]',
                "display_name": "examples",
                "store_session_info": "{}",
            },
        }
    ]
    assert examples.name.isdecimal()
    assert told["outputs"]["artifacts"] == {
        "model": {
            "artifacts": [
                {
                    "uri": f"{BUCKET}/1/Train/model",
                    "type": {"instanceSchema": "title: tfx.Model\ntype: object\n"},
                }
            ]
        },
        "model_run": {
            "artifacts": [
                {
                    "uri": f"{BUCKET}/1/Train/model_run",
                    "type": {"instanceSchema": "title: tfx.ModelRun\ntype: object\n"},
                }
            ]
        },
        "executor-logs": {
            "artifacts": [
                {
                    "uri": f"{BUCKET}/1/Train/executor-logs",
                    "type": {"schemaTitle": "system.Artifact"},
                }
            ]
        },
    }


def test_a_task_finds_its_inputs_and_an_open_log_and_no_folders_for_its_outputs(
    run: Run, values: Values, root: Path
) -> None:
    trained = run(with_script(values, "Train", TELL))[2]
    told = json.loads((Path(trained.outputs["model"][0].uri) / "content").read_text())
    pod = root / "runs" / "1" / "Train" / "pod"
    assert told["copied"] == [f"{pod}/gcs/bucket/runs/photos/1/Make/examples/content"]
    assert told["logs"]
    assert told["folders"] == ["model"]  # which it has made itself


def test_nothing_of_a_pod_is_left_for_the_next_task(run: Run, values: Values, root: Path) -> None:
    run(values)
    assert not list(root.rglob("pod"))
    with pytest.raises(TaskError):
        run(with_script(values, "Train", "sys.exit(1)"))
    assert not list(root.rglob("pod"))


def test_the_logs_are_an_output_as_any_other(run: Run, values: Values, root: Path) -> None:
    trained = run(with_script(values, "Train", TELL))[2]
    (logs,) = trained.outputs["executor-logs"]
    assert logs.uri == str(root / "runs" / "1" / "Train" / "executor-logs")
    assert Path(logs.uri).read_text() == "trained\n"


def test_a_bucket_knows_no_empty_folders(run: Run, values: Values) -> None:
    leave = MAKE + '(place(outputs["examples"]) / "empty" / "deep").mkdir(parents=True)\n'
    look = 'write("model", str([each.name for each in place(inputs["examples"][0]).iterdir()]))\n'
    changed = with_script(values, "Make", leave)
    executions = run(with_script(changed, "Train", look + 'write("model_run", "")\nend()'))
    assert content(executions, "Train", "model") == "['content']"


def test_metadata_comes_back_as_from_ml_metadata(run: Run, values: Values) -> None:
    said = {"yes": True, "count": 2, "share": 0.5, "name": "a", "list": [1], "table": {"a": "b"}}
    made = run(with_script(values, "Make", MAKE + f"end({{'examples': {said}}})"))[1]
    found = json_format.MessageToDict(made.outputs["examples"][0].metadata)
    assert found.items() >= {
        ("yes", 1.0),
        ("count", 2.0),
        ("share", 0.5),
        ("name", "a"),
    }
    assert found["list"] == {"list": [1.0]}
    assert found["table"] == {"struct": {"a": "b"}}


def test_what_is_unchanged_comes_from_the_cache_although_the_data_was_looked_at_anew(
    run: Run, values: Values
) -> None:
    first, second = run(values), run(values)
    assert how(second) == {"Look": "run", "Make": "cached", "Train": "cached", "Pusher": "run"}
    assert second[2].outputs == first[2].outputs
    third = run(with_seed(values, 6))
    assert how(third) == {"Look": "run", "Make": "cached", "Train": "run", "Pusher": "run"}


def test_the_root_may_have_two_names(run: Run, values: Values, root: Path, data: Path) -> None:
    run(values)
    other = root.with_name("other")
    other.symlink_to(root)
    spec = parse_spec(with_seed(values, 6), Path("spec.json"))
    second = run_spec(spec, root=other, data=data, commands=COMMANDS, report=lambda *_: None)
    assert how(second)["Make"] == "cached"
    assert content(second, "Train", "model") == "dogs trained with seed 6"


def test_other_data_runs_all(run: Run, values: Values, data: Path) -> None:
    run(values)
    (data / "photos").write_text("more dogs")
    second = run(values)
    assert set(how(second).values()) == {"run"}
    assert content(second, "Train", "model") == "more dogs trained with seed 5"


def test_what_is_made_anew_is_another_artifact_even_if_it_is_the_same(
    run: Run, values: Values
) -> None:
    uncached = copy.deepcopy(values)
    uncached["root"]["dag"]["tasks"]["Make"]["cachingOptions"] = {}
    first, second = run(uncached), run(uncached)
    assert how(second)["Train"] == "run"
    names = [each[1].outputs["examples"][0].name for each in (first, second)]
    assert names[0] != names[1]


@pytest.mark.parametrize("what", ["image", "args", "claim", "pipeline"])
def test_the_cache_knows_what_the_driver_knows(run: Run, values: Values, what: str) -> None:
    run(values)
    changed = copy.deepcopy(values)
    of_train = changed["deploymentSpec"]["executors"]["Train"]["container"]
    if what == "image":
        of_train["image"] = "i:2"
    elif what == "args":
        of_train["args"].append("--more")
    elif what == "claim":
        mount = {"pvcMount": [{"constant": "photos", "mountPath": "/records"}]}
        platform = {"kubernetes": {"deploymentSpec": {"executors": {"Train": mount}}}}
        changed = {"pipelineSpec": changed, "platformSpec": {"platforms": platform}}
    else:
        changed["pipelineInfo"]["name"] = "cats"
    anew = {"Make", "Train"} if what == "pipeline" else {"Train"}
    found = how(run(changed))
    assert {name for name in ("Make", "Train") if found[name] == "run"} == anew


def test_what_has_lost_a_file_is_made_again(run: Run, values: Values) -> None:
    first = run(values)
    (Path(first[2].outputs["model_run"][0].uri) / "content").unlink()
    assert how(run(values))["Train"] == "run"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            TRAIN + "end({'model': {'span': None}})",
            "task Train says that span of its output model is null, which Kubeflow Pipelines does",
        ),
        (
            TRAIN + "said = {'model': {'artifacts': [{'uri': '/gcs/b'}]}}\n"
            "pathlib.Path(given['outputs']['outputFile']).write_text("
            "json.dumps({'artifacts': said}))",
            f"task Train says that its output model is at /gcs/b, not at {BUCKET}/1/Train/model,",
        ),
        ("pass", "task Train ended well, but has not written "),
        (
            TRAIN + "pathlib.Path(given['outputs']['outputFile']).write_text('{')",
            "task Train: {root}/runs/1/Train/pod/tmp/kfp_outputs/output_metadata.json is no Exec",
        ),
    ],
)
def test_what_the_platform_would_not_take_is_said_in_one_line(
    run: Run, values: Values, root: Path, script: str, message: str
) -> None:
    said = error_of(run, with_script(values, "Train", script))
    assert said.startswith(message.format(root=root))


def test_an_output_parameter_that_was_not_said_is_named(run: Run, values: Values) -> None:
    message = error_of(run, with_script(values, "Look", "end(fingerprint='dogs')"))
    assert message == "task Look has not said its output parameter span"
