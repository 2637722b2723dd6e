"""Specs of a few tasks, each of them a few lines of Python, and what came of them."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.cluster.executions import Execution

Values = dict[str, Any]
Run = Callable[[Values], list[Execution]]

COMMANDS = Path(sys.executable).parent
PRELUDE = """
import json, os, pathlib, sys
if sys.argv[1] == "pipeline.cluster.kubeflow_task":
    del sys.argv[1]
given = json.loads(sys.argv[1])
parameters = given["inputs"].get("parameterValues", {})
known = given["inputs"].get("artifacts", {})
inputs = {key: each.get("artifacts", []) for key, each in known.items()}
wanted = given["outputs"].get("artifacts", {})
outputs = {key: each["artifacts"][0] for key, each in wanted.items()}

def place(artifact):
    local = os.environ.get("LAUNCHER_ROOT", "") + "gcs/"
    return pathlib.Path(artifact["uri"].replace("gs://", local))

def read(key):
    return (place(inputs[key][0]) / "content").read_text()

def write(key, text):
    place(outputs[key]).mkdir(exist_ok=True)
    (place(outputs[key]) / "content").write_text(text)

def end(metadata={}, **values):
    said = {key: {"artifacts": [{"metadata": each}]} for key, each in metadata.items()}
    text = json.dumps({"parameterValues": values, "artifacts": said})
    file = pathlib.Path(given["outputs"]["outputFile"])
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)

"""
MAKE = """
write("examples", pathlib.Path(parameters["where"], "photos").read_text())
end({"examples": {"span": 3, "split_names": '["train"]'}})
"""
TRAIN = """
write("model", f"{read('examples')} trained with seed {parameters['seed']:.0f}")
write("model_run", "curves")
end({"model": {"backbone": "tiny"}})
"""
PUSH = """
base = pathlib.Path(json.loads(parameters["to"])["filesystem"]["baseDirectory"])
base.mkdir(parents=True, exist_ok=True)
(base / "1").write_text(read("model"))
end({"pushed_model": {"pushed": 1, "pushed_destination": f"{base}/1"}})
"""
BLOCK = 'end({"pushed_model": {"pushed": 0}})'
FAIL = """
print("\\n".join(f"line {number}" for number in range(1, 101)), flush=True)
print("no such photo", file=sys.stderr)
sys.exit(7)
"""


def artifact(kind: str) -> Values:
    return {"artifactType": {"instanceSchema": f"title: tfx.{kind}\ntype: object\n"}}


def container(script: str, *, hook: str | None = None) -> Values:
    found: Values = {"image": "i", "command": ["python", "-c"], "args": [PRELUDE + script, "{{$}}"]}
    if hook is not None:
        driver = {"command": ["python", "-c"], "args": [PRELUDE + hook, "{{$}}"]}
        found["lifecycle"] = {"preCacheCheck": driver}
    return {"container": found}


def output_of(task: str, key: str) -> Values:
    return {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": key}}


def component(task: str, outputs: Values) -> Values:
    return {"executorLabel": task, "outputDefinitions": {"artifacts": outputs}}


def task(name: str, artifacts: Values, parameters: Values, after: tuple[str, ...] = ()) -> Values:
    return {
        "componentRef": {"name": name},
        "cachingOptions": {"enableCache": True},
        "dependentTasks": [*after],
        "inputs": {"artifacts": artifacts, "parameters": parameters},
    }


def spec_of(tasks: Values, components: Values, executors: Values) -> Values:
    parameters = {
        "data_root": {"parameterType": "STRING", "defaultValue": "gs://b/data"},
        "push_destination": {"parameterType": "STRING", "defaultValue": "{}"},
    }
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "photos"},
        "root": {"inputDefinitions": {"parameters": parameters}, "dag": {"tasks": tasks}},
        "components": components,
        "deploymentSpec": {"executors": executors},
    }


def with_script(values: Values, name: str, script: str, *, hook: str | None = None) -> Values:
    """The same, with one task that runs something else."""
    changed = copy.deepcopy(values)
    changed["deploymentSpec"]["executors"][name] = container(script, hook=hook)
    return changed


def with_seed(values: Values, seed: int) -> Values:
    changed = copy.deepcopy(values)
    inputs = changed["root"]["dag"]["tasks"]["Train"]["inputs"]
    inputs["parameters"]["seed"]["runtimeValue"]["constant"] = seed
    return changed


def how(executions: list[Execution]) -> dict[str, str]:
    return {each.task: each.how for each in executions}


def content(executions: list[Execution], name: str, key: str) -> str:
    (found,) = (each for each in executions if each.task == name)
    (made,) = found.outputs[key]
    return (Path(made.uri) / "content").read_text()
