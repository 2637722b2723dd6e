import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from data.contract.model import push_destination
from pipeline.cluster.spec import DATA_ROOT, PUSH_DESTINATION, SpecError, read_spec

Values = dict[str, Any]

ROOT = Path(__file__).parents[3]
ARTIFACT = {"artifactType": {"instanceSchema": "title: tfx.Model\ntype: object\n"}}
INPUT = {"taskOutputArtifact": {"producerTask": "First", "outputArtifactKey": "model"}}


@pytest.fixture
def values() -> Values:
    """Two tasks: Second takes what First makes, and a parameter of the run."""
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "two"},
        "root": {
            "inputDefinitions": {
                "parameters": {"place": {"parameterType": "STRING", "defaultValue": "here"}}
            },
            "dag": {
                "tasks": {
                    "Second": {
                        "componentRef": {"name": "Second"},
                        "dependentTasks": ["First"],
                        "inputs": {
                            "artifacts": {"model": INPUT},
                            "parameters": {"to": {"componentInputParameter": "place"}},
                        },
                    },
                    "First": {"componentRef": {"name": "First"}},
                }
            },
        },
        "components": {
            "First": {
                "executorLabel": "run_first",
                "outputDefinitions": {"artifacts": {"model": ARTIFACT}},
            },
            "Second": {
                "executorLabel": "run_second",
                "inputDefinitions": {"artifacts": {"model": ARTIFACT}},
            },
        },
        "deploymentSpec": {
            "executors": {
                "run_first": {"container": {"image": "img:1", "command": ["first"]}},
                "run_second": {"container": {"image": "img:1", "command": ["second"]}},
            }
        },
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, Any]], Path]:
    def write(values: Mapping[str, Any]) -> Path:
        file = tmp_path / "spec.json"
        file.write_text(json.dumps(values))
        return file

    return write


def error_of(file: Path) -> str:
    """What is said about a file that is not a spec: one line, which begins with the file."""
    with pytest.raises(SpecError) as caught:
        read_spec(file)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{file}: ")
    return line.removeprefix(f"{file}: ")


def changed(values: Values, path: str, value: Any) -> Values:
    """A copy in which the value at a path is replaced, or gone if the new one is None."""
    copied = copy.deepcopy(values)
    *parents, last = path.split(".")
    place = copied
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copied


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_job_and_its_spec_alone_are_read_alike(
    values: Values, write: Callable[[Values], Path], wrapped: bool
) -> None:
    spec = read_spec(write({"displayName": "two", "pipelineSpec": values} if wrapped else values))
    assert spec.order == ("First", "Second")
    assert spec.executor("Second").container.command == ["second"]
    assert spec.task("Second").inputs.parameters["to"].component_input_parameter == "place"
    assert [*spec.component("First").output_definitions.artifacts] == ["model"]
    assert spec.parameters == {"place": "here"}
    assert not spec.needs_vertex


@pytest.mark.parametrize(
    "executor",
    [
        {"resolver": {"outputArtifactQueries": {"model": {"filter": "state=LIVE"}}}},
        {"container": {"image": "i", "lifecycle": {"preCacheCheck": {"command": ["look"]}}}},
    ],
)
def test_a_resolver_and_a_driver_in_a_hook_need_vertex(
    values: Values, write: Callable[[Values], Path], executor: Values
) -> None:
    spec = read_spec(write(changed(values, "deploymentSpec.executors.run_first", executor)))
    assert spec.needs_vertex


def test_the_parameters_of_a_run_have_the_names_that_the_platforms_show() -> None:
    assert (DATA_ROOT, PUSH_DESTINATION) == ("data_root", "push_destination")
    destination = json.loads(push_destination('gs://b/"quoted"'))
    assert destination == {"filesystem": {"baseDirectory": 'gs://b/"quoted"'}}


def test_a_task_comes_after_one_whose_parameter_it_takes(
    values: Values, write: Callable[[Values], Path]
) -> None:
    taken = {"taskOutputParameter": {"producerTask": "First", "outputParameterKey": "place"}}
    changed_values = changed(values, "root.dag.tasks.Second", {"componentRef": {"name": "Second"}})
    changed_values["root"]["dag"]["tasks"]["Second"]["inputs"] = {"parameters": {"to": taken}}
    outputs = {"parameters": {"place": {"parameterType": "STRING"}}}
    changed_values["components"]["First"]["outputDefinitions"] = outputs
    assert read_spec(write(changed_values)).order == ("First", "Second")


@pytest.mark.parametrize(
    ("platform", "message"),
    [
        ({"kubernetes": {"engine": "x"}}, 'not a pipeline spec: .*"engine"'),
        (
            {"kubernetes": {"deploymentSpec": {"executors": {"run_third": {}}}}},
            "'run_third' is asked for on kubernetes, but is not there",
        ),
    ],
)
def test_what_is_asked_of_kubernetes_must_belong_to_the_spec(
    values: Values, write: Callable[[Values], Path], platform: Values, message: str
) -> None:
    job = {"pipelineSpec": values, "platformSpec": {"platforms": platform}}
    said = error_of(write(job))
    assert re.match(message, said), said


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none.json") == "No such file or directory"


def test_a_folder_is_not_a_spec(tmp_path: Path) -> None:
    assert error_of(tmp_path) == "Is a directory"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("spec.json", b"{"),
        ("spec.json", b"schemaVersion: 2.1.0"),
        ("spec.yaml", b"a: [b"),
        ("spec.yaml", b"a: b: c"),
        ("spec.yaml", b"a: !!python/object/apply:os.getcwd []"),
        ("photo.jpg", b"\xff\xd8\xff\xe0"),
    ],
)
def test_what_is_neither_json_nor_yaml_is_reported(
    name: str, content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert error_of(file).startswith("neither JSON nor YAML: ")


@pytest.mark.parametrize(
    ("name", "text"), [("s.json", "[]"), ("s.json", "7"), ("s.yaml", ""), ("s.yaml", "notes")]
)
def test_what_holds_no_keys_is_not_a_spec(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert error_of(tmp_path / name) == "not a pipeline spec: it is not a table of keys"


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    with file.open("wb") as stream:
        stream.truncate(10_000_001)
    assert error_of(file) == "not a pipeline spec: more than 10,000,000 bytes"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", 'not a pipeline spec: .*"colour"'),
        ("deploymentSpec.engine", "x", 'not a pipeline spec: .*"engine"'),
        ("root.dag", "text", "not a pipeline spec: "),
        ("components.First", "text", "not a pipeline spec: "),
        ("schemaVersion", "2.0.0", r"schemaVersion '2\.0\.0' is not 2\.1\.0"),
        ("schemaVersion", None, r"schemaVersion '' is not 2\.1\.0"),
        ("root.dag.tasks", {}, "the pipeline has no tasks"),
        ("root", None, "the pipeline has no tasks"),
        ("components.First", None, "task First names a component 'First' that is not there"),
        (
            "root.dag.tasks.First",
            {"taskInfo": {"name": "First"}},
            "task First names a component '' that is not there",
        ),
        (
            "deploymentSpec.executors.run_second",
            None,
            "task Second has an executor 'run_second' that is not there",
        ),
        (
            "root.dag.tasks.Second.dependentTasks",
            ["First", "Zeroth"],
            "task Second waits for 'Zeroth', which is not there",
        ),
        ("root.dag.tasks.First", None, "task Second waits for 'First', which is not there"),
        (
            "root.dag.tasks.Second.inputs.artifacts.model",
            {"taskOutputArtifact": {"producerTask": "Zeroth", "outputArtifactKey": "model"}},
            "task Second waits for 'Zeroth', which is not there",
        ),
        (
            "root.dag.tasks.Second.inputs.artifacts.model",
            {"taskOutputArtifact": {"producerTask": "First", "outputArtifactKey": "data"}},
            "input model of task Second is 'data' of First, which makes no such thing",
        ),
        (
            "root.dag.tasks.Second.inputs.parameters.to",
            {"componentInputParameter": "planet"},
            "parameter to of task Second is 'planet' of the run, which is not there",
        ),
        (
            "root.dag.tasks.Second.inputs.parameters.to",
            {"taskOutputParameter": {"producerTask": "Zeroth", "outputParameterKey": "place"}},
            "task Second waits for 'Zeroth', which is not there",
        ),
        (
            "root.dag.tasks.Second.inputs.parameters.to",
            {"taskOutputParameter": {"producerTask": "First", "outputParameterKey": "place"}},
            "parameter to of task Second is 'place' of First, which makes no such thing",
        ),
        (
            "root.dag.tasks.First.dependentTasks",
            ["Second"],
            "tasks wait for each other: (First, Second, First|Second, First, Second)",
        ),
    ],
)
def test_what_does_not_belong_together_is_named(
    values: Values, write: Callable[[Values], Path], path: str, value: Any, message: str
) -> None:
    assert read_spec(write(values))
    said = error_of(write(changed(values, path, value)))
    assert re.match(message, said), said


def test_a_field_that_a_job_does_not_have_is_named_too(
    values: Values, write: Callable[[Values], Path]
) -> None:
    assert '"speed"' in error_of(write({"pipelineSpec": values, "speed": 3}))


@pytest.fixture
def diamonds(values: Values) -> Values:
    """A chain in which each link is followed by three tasks, and those by the next link."""
    tasks: dict[str, Values] = {}
    before: list[str] = []
    for link in "bca":
        tasks[link] = {"componentRef": {"name": "First"}, "dependentTasks": before}
        before = [f"{link}{number}" for number in (3, 1, 2)]
        for name in before:
            tasks[name] = {"componentRef": {"name": "First"}, "dependentTasks": [link]}
    return changed(values, "root.dag.tasks", tasks)


def test_a_task_comes_after_all_that_it_depends_on(
    diamonds: Values, write: Callable[[Values], Path]
) -> None:
    order = read_spec(write(diamonds)).order
    tasks = diamonds["root"]["dag"]["tasks"]
    assert sorted(order) == sorted(tasks)
    for name, task in tasks.items():
        assert all(order.index(above) < order.index(name) for above in task["dependentTasks"])


def test_the_order_is_the_same_in_every_process(
    diamonds: Values, write: Callable[[Values], Path]
) -> None:
    program = (
        "import sys; from pathlib import Path; from pipeline.cluster.spec import read_spec\n"
        "print(*read_spec(Path(sys.argv[1])).order)"
    )
    command = [sys.executable, "-c", program, str(write(diamonds))]
    orders = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert orders == {" ".join(read_spec(write(diamonds)).order) + "\n"}
