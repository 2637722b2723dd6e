"""Specs of a few tasks, each of them a few lines of Python."""

import copy
import json
import os
import select
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format

from data import spans
from data.contract.errors import Exit
from pipeline.cli import main
from pipeline.cluster import run_spec as module
from pipeline.cluster.executions import Execution, TaskError
from pipeline.cluster.run_spec import make_image_environment, run_spec
from pipeline.cluster.spec import KUBEFLOW_TASK, parse_spec
from tests.pipeline.cluster.specs import (
    BLOCK,
    COMMANDS,
    FAIL,
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
    with_script,
    with_seed,
)


@pytest.fixture
def values() -> Values:
    """Make takes the photos, Train what Make made, Pusher what Train made."""
    return spec_of(
        {
            "Make": task("Make", {}, {"where": {"componentInputParameter": "data_root"}}),
            "Train": task(
                "Train",
                {"examples": output_of("Make", "examples")},
                {"seed": {"runtimeValue": {"constant": 5}}},
                ("Make",),
            ),
            "Pusher": task(
                "Pusher",
                {"model": output_of("Train", "model")},
                {"to": {"componentInputParameter": "push_destination"}},
            ),
        },
        {
            "Make": component("Make", {"examples": artifact("Examples")}),
            "Train": component(
                "Train", {"model": artifact("Model"), "model_run": artifact("ModelRun")}
            ),
            "Pusher": component("Pusher", {"pushed_model": artifact("PushedModel")}),
        },
        {"Make": container(MAKE), "Train": container(TRAIN), "Pusher": container(PUSH)},
    )


def test_tasks_run_in_order_on_what_those_before_them_made(
    run: Run, values: Values, root: Path
) -> None:
    executions = run(values)
    assert how(executions) == {"Make": "run", "Train": "run", "Pusher": "run"}
    assert [each.task for each in executions] == ["Make", "Train", "Pusher"]
    assert content(executions, "Make", "examples") == "dogs"
    assert content(executions, "Train", "model") == "dogs trained with seed 5"
    pushed = root / "serving" / "dog_emotion" / "1"
    assert pushed.read_text() == "dogs trained with seed 5"
    assert sorted(path.name for path in root.iterdir()) == ["runs", "serving"]


def test_each_task_is_reported_with_what_it_used(values: Values, root: Path, data: Path) -> None:
    reported: list[tuple[int, int, Execution]] = []
    executions = run_spec(
        parse_spec(values, Path("spec.json")),
        root=root,
        data=data,
        commands=COMMANDS,
        report=lambda *told: reported.append(told),
    )
    assert [(done, total) for done, total, _ in reported] == [(1, 3), (2, 3), (3, 3)]
    assert [execution for *_, execution in reported] == executions
    for each in executions:
        assert 0 < each.cpu_seconds < 60
        assert 0 < each.seconds < 60
        assert each.peak_mb > 1


def test_artifacts_have_the_names_types_and_metadata_that_were_given(
    run: Run, values: Values, root: Path
) -> None:
    """The next task is told what the previous one said, besides what its component says."""
    said = copy.deepcopy(values)
    outputs = said["components"]["Make"]["outputDefinitions"]["artifacts"]
    outputs["examples"]["metadata"] = {"version": 2}
    tell = 'write("model", json.dumps(inputs["examples"]))\nend()'
    executions = run(with_script(said, "Train", tell))
    model = executions[1].outputs["model"][0]
    assert model.name == "1/Train/model"
    assert model.uri == str(root / "runs" / "1" / "Train" / "model")
    (told,) = json.loads(content(executions, "Train", "model"))
    assert told == {
        "name": "1/Make/examples",
        "uri": str(root / "runs" / "1" / "Make" / "examples"),
        "type": {"instanceSchema": "title: tfx.Examples\ntype: object\n"},
        "metadata": {"span": 3, "split_names": '["train"]', "version": 2},
    }


def test_relative_places_reach_the_tasks_as_absolute_ones(
    values: Values, data: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    spec = parse_spec(values, Path("spec.json"))
    places = {"root": Path(root.name), "data": Path(data.name)}
    executions = run_spec(spec, **places, commands=COMMANDS, report=lambda *_: None)
    assert content(executions, "Make", "examples") == "dogs"
    assert executions[0].outputs["examples"][0].uri.startswith(str(root))


def test_the_place_of_the_invocation_may_be_anywhere_in_an_argument(
    run: Run, values: Values
) -> None:
    script = "sys.argv[1] = json.dumps(given)\nassert sys.argv[2] == '--given=' + sys.argv[3]\n"
    changed = with_script(values, "Make", script + MAKE)
    changed["deploymentSpec"]["executors"]["Make"]["container"]["args"] += [
        "--given={{$}}",
        "{{$}}",
    ]
    assert how(run(changed))["Make"] == "run"


def test_what_is_unchanged_comes_from_the_last_run(run: Run, values: Values, root: Path) -> None:
    first, second = run(values), run(values)
    assert how(second) == {"Make": "cached", "Train": "cached", "Pusher": "cached"}
    assert [each.outputs for each in second] == [each.outputs for each in first]
    assert not list((root / "runs" / "2").rglob("task.log"))
    assert how(run(values)) == how(second)


def test_a_changed_parameter_runs_its_task_and_those_after_it(run: Run, values: Values) -> None:
    run(values)
    second = run(with_seed(values, 6))
    assert how(second) == {"Make": "cached", "Train": "run", "Pusher": "run"}
    assert content(second, "Train", "model") == "dogs trained with seed 6"
    assert set(how(run(values)).values()) == {"cached"}


def test_a_changed_task_runs_and_those_after_it(run: Run, values: Values) -> None:
    run(values)
    changed = with_script(values, "Make", "\n" + MAKE)
    assert how(run(changed)) == {"Make": "run", "Train": "run", "Pusher": "run"}


def test_another_image_runs_all(run: Run, values: Values) -> None:
    run(values)
    changed = copy.deepcopy(values)
    for executor in changed["deploymentSpec"]["executors"].values():
        executor["container"]["image"] = "i:2"
    assert set(how(run(changed)).values()) == {"run"}


def test_what_was_deleted_is_made_again(run: Run, values: Values) -> None:
    first = run(values)
    shutil.rmtree(first[1].outputs["model_run"][0].uri)
    second = run(values)
    assert how(second) == {"Make": "cached", "Train": "run", "Pusher": "run"}
    assert content(second, "Train", "model_run") == "curves"


def test_what_has_lost_a_file_or_a_part_of_one_is_made_again(run: Run, values: Values) -> None:
    first = run(values)
    (Path(first[1].outputs["model_run"][0].uri) / "content").unlink()
    second = run(values)
    assert how(second) == {"Make": "cached", "Train": "run", "Pusher": "run"}
    (Path(second[1].outputs["model_run"][0].uri) / "content").write_text("")
    third = run(values)
    assert how(third) == {"Make": "cached", "Train": "run", "Pusher": "run"}
    assert set(how(run(values)).values()) == {"cached"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"task": "Make", "outputs": {"a": [{"b": 1}]}}'])
def test_a_record_that_is_damaged_is_named(run: Run, values: Values, root: Path, text: str) -> None:
    run(values)
    record = root / "runs" / "1" / "Make" / "execution.json"
    record.write_text(text)
    with pytest.raises(TaskError, match=f"^{record} is damaged .* delete {root}/runs/1 and run"):
        run(values)


def test_a_root_that_was_moved_does_not_take_what_lies_in_its_old_place(
    run: Run, values: Values, root: Path, data: Path
) -> None:
    run(values)
    moved = root.rename(root.with_name("moved"))
    run(with_script(values, "Make", MAKE.replace("read_text()", "read_text().upper()")))
    spec = parse_spec(values, Path("spec.json"))
    with pytest.raises(TaskError, match=f"^{moved} was moved or copied, .* {root}/runs/1/Make/ex"):
        run_spec(spec, root=moved, data=data, commands=COMMANDS, report=lambda *_: None)


def test_a_task_without_caching_runs_every_time(run: Run, values: Values) -> None:
    changed = copy.deepcopy(values)
    changed["root"]["dag"]["tasks"]["Pusher"]["cachingOptions"] = {}
    run(changed)
    assert how(run(changed)) == {"Make": "cached", "Train": "cached", "Pusher": "run"}


HOOK = """
newest = pathlib.Path(parameters["where"], "photos").read_text()
end({"examples": {"span": 8}}, fingerprint=newest, pattern="span-8/*")
"""
MAKE_AS_TOLD = """
said = {key: parameters[key] for key in ("fingerprint", "pattern")}
write("examples", json.dumps([said, outputs["examples"]["metadata"]]))
end({"examples": {"split_names": "[]"}})
"""


def test_what_the_driver_finds_reaches_the_executor_and_the_artifact(
    run: Run, values: Values
) -> None:
    executions = run(with_script(values, "Make", MAKE_AS_TOLD, hook=HOOK))
    assert json.loads(content(executions, "Make", "examples")) == [
        {"fingerprint": "dogs", "pattern": "span-8/*"},
        {"span": 8},
    ]
    made = json_format.MessageToDict(executions[0].outputs["examples"][0].metadata)
    assert made == {"span": 8, "split_names": "[]"}


def test_the_cache_knows_the_data_by_what_the_driver_finds(
    run: Run, values: Values, data: Path
) -> None:
    driven = with_script(values, "Make", MAKE_AS_TOLD, hook=HOOK)
    run(driven)
    assert set(how(run(driven)).values()) == {"cached"}
    (data / "photos").write_text("more dogs")
    assert set(how(run(driven)).values()) == {"run"}


def test_a_driver_that_fails_ends_the_run(run: Run, values: Values) -> None:
    with pytest.raises(TaskError, match="task Make failed with status 7"):
        run(with_script(values, "Make", MAKE, hook=FAIL))


def test_a_failed_task_is_named_with_its_log_and_the_end_of_it(
    run: Run, values: Values, root: Path
) -> None:
    with pytest.raises(TaskError) as caught:
        run(with_script(values, "Train", FAIL))
    first, *lines = str(caught.value).splitlines()
    log = root / "runs" / "1" / "Train" / "task.log"
    assert first == f"task Train failed with status 7; the end of {log}:"
    assert "  no such photo" in lines
    assert "  line 100" in lines
    assert len(lines) == 30
    assert log.read_text().splitlines()[0] == "line 1"


def test_nothing_runs_after_a_failed_task(run: Run, values: Values, root: Path) -> None:
    with pytest.raises(TaskError):
        run(with_script(values, "Train", FAIL))
    assert sorted(path.name for path in (root / "runs" / "1").iterdir()) == ["Make", "Train"]
    assert not (root / "serving").exists()


def test_after_a_failure_the_next_run_goes_on_from_there(run: Run, values: Values) -> None:
    with pytest.raises(TaskError):
        run(with_script(values, "Train", FAIL))
    with pytest.raises(TaskError):
        run(with_script(values, "Train", FAIL))
    assert how(run(values)) == {"Make": "cached", "Train": "run", "Pusher": "run"}


def test_a_task_that_a_signal_ends_has_failed(run: Run, values: Values) -> None:
    with pytest.raises(TaskError, match="task Make failed with status -9"):
        run(with_script(values, "Make", "os.kill(os.getpid(), 9)"))


def test_a_command_that_is_not_there_is_named(run: Run, values: Values) -> None:
    changed = copy.deepcopy(values)
    changed["deploymentSpec"]["executors"]["Make"]["container"]["command"] = ["no-such-command"]
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        run(changed)


def test_a_folder_of_the_user_among_the_runs_is_left_alone(
    run: Run, values: Values, root: Path
) -> None:
    run(values)
    shutil.copytree(root / "runs" / "1", root / "runs" / "good one")
    assert set(how(run(values)).values()) == {"cached"}
    assert sorted(path.name for path in (root / "runs").iterdir()) == ["1", "2", "good one"]


def test_a_run_gets_a_number_greater_than_all_before(run: Run, values: Values, root: Path) -> None:
    (root / "runs" / "9").mkdir(parents=True)
    assert run(values)[0].outputs["examples"][0].name == "10/Make/examples"


def test_a_task_sees_the_image_and_nothing_of_the_machine(
    run: Run, values: Values, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "KERAS_HOME", "SECRET_TOKEN"):
        monkeypatch.setenv(name, "/of/the/machine")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    look = """
seen = {"environment": dict(os.environ), "cwd": os.getcwd(), "files": os.listdir()}
seen["stdin"] = sys.stdin.read()
write("examples", json.dumps(seen))
end()
"""
    seen = json.loads(content(run(with_script(values, "Make", look)), "Make", "examples"))
    home = root / "runs" / "1" / "Make" / "home"
    environment = seen["environment"]
    assert "/of/the/machine" not in environment.values()
    assert environment["HOME"] == str(home)
    assert environment["PATH"] == f"{COMMANDS}{os.pathsep}{os.defpath}"
    assert environment["https_proxy"] == "http://proxy:3128"
    assert seen["cwd"] == str(home)
    assert seen["files"] == []
    assert seen["stdin"] == ""


def test_two_tasks_have_homes_of_their_own(run: Run, values: Values) -> None:
    leave = '\npathlib.Path(os.environ["HOME"], "left").touch()'
    look = '\nassert not pathlib.Path(os.environ["HOME"], "left").exists()'
    changed = with_script(values, "Make", MAKE + leave)
    assert how(run(with_script(changed, "Train", TRAIN + look)))["Train"] == "run"


def test_an_interruption_ends_the_task_and_all_that_it_started(
    run: Run, values: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of a pipe is told when the last of its writers has gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    child = "import os, time; os.write(1, b'here'); time.sleep(60)"
    start = f'import subprocess\nwith open("{pipe}", "w") as out:\n'
    start += f'    subprocess.run([sys.executable, "-c", {child!r}], stdout=out)\n'
    opened: list[int] = []

    def interrupt(*_: object) -> None:
        opened.append(os.open(pipe, os.O_RDONLY))
        assert os.read(opened[0], 4) == b"here"
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(os, "wait4", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(with_script(values, "Make", start))
    assert select.select(opened, [], [], 20)[0], "somebody still holds the pipe"
    assert os.read(opened[0], 1) == b""
    os.close(opened[0])
    assert how(run(values)) == {"Make": "run", "Train": "run", "Pusher": "run"}


EVALUATE = """
blessed = int(parameters["blessed"])
said = {"blessed": blessed, "current_model_id": inputs["model"][0]["name"]}
found = [each["name"] for each in inputs["baseline"]]
write("evaluation", json.dumps(found))
end({"blessing": said})
"""
BLESSING = 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'
MODEL = (
    'schema_title="tfx.Model" AND state=LIVE AND '
    "name=\"{{$.inputs.artifacts['input'].metadata['current_model_id']}}\""
)


def resolver(key: str, query: str) -> Values:
    return {"resolver": {"outputArtifactQueries": {key: {"filter": query}}}}


@pytest.fixture
def resolving(values: Values) -> Callable[[int, int], Values]:
    """A pipeline that looks for the last blessed model; takes the seed and the verdict."""

    def make(seed: int, blessed: int) -> Values:
        made = with_seed(values, seed)
        tasks, components = made["root"]["dag"]["tasks"], made["components"]
        executors = made["deploymentSpec"]["executors"]
        tasks["Blessing"] = {"componentRef": {"name": "Blessing"}}
        tasks["Baseline"] = {
            "componentRef": {"name": "Baseline"},
            "inputs": {"artifacts": {"input": output_of("Blessing", "model_blessing")}},
        }
        tasks["Evaluate"] = task(
            "Evaluate",
            {"model": output_of("Train", "model"), "baseline": output_of("Baseline", "model")},
            {"blessed": {"runtimeValue": {"constant": blessed}}},
        )
        components["Blessing"] = component(
            "Blessing", {"model_blessing": artifact("ModelBlessing")}
        )
        components["Baseline"] = component("Baseline", {"model": artifact("Model")})
        components["Evaluate"] = component(
            "Evaluate",
            {"blessing": artifact("ModelBlessing"), "evaluation": artifact("ModelEvaluation")},
        )
        executors["Blessing"] = resolver("model_blessing", BLESSING)
        executors["Baseline"] = resolver("model", MODEL)
        executors["Evaluate"] = container(EVALUATE)
        return made

    return make


def baseline(executions: list[Execution]) -> list[str]:
    """The names of the models that were found, the same for us and for the task."""
    (found,) = (each for each in executions if each.task == "Baseline")
    assert found.how == "resolved"
    names = [each.name for each in found.outputs["model"]]
    assert json.loads(content(executions, "Evaluate", "evaluation")) == names
    return names


def test_the_first_run_finds_no_model(run: Run, resolving: Callable[[int, int], Values]) -> None:
    assert baseline(run(resolving(1, 1))) == []


def test_a_run_finds_the_newest_model_that_was_blessed(
    run: Run, resolving: Callable[[int, int], Values]
) -> None:
    run(resolving(1, 1))
    assert baseline(run(resolving(2, 0))) == ["1/Train/model"]
    assert baseline(run(resolving(3, 1))) == ["1/Train/model"]
    assert baseline(run(resolving(4, 0))) == ["3/Train/model"]
    # From the cache, its model keeps its name.
    assert baseline(run(resolving(3, 1))) == ["3/Train/model"]
    assert baseline(run(resolving(5, 1))) == ["3/Train/model"]


def test_without_a_checkout_the_tasks_run_in_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert make_image_environment() == COMMANDS


@pytest.mark.parametrize("status", [0, 1])
def test_in_a_checkout_the_environment_is_made_by_its_own_script(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "requirements" / "install.py"
    script.parent.mkdir()
    script.write_text(
        "import pathlib, sys\n"
        "option, folder = sys.argv[1:]\n"
        f"pathlib.Path(folder).mkdir() if option == '--image' else None\nsys.exit({status})"
    )
    monkeypatch.setattr(module, "ROOT", tmp_path)
    environment = tmp_path / ".venv-image"
    if status:
        with pytest.raises(TaskError, match=f"{environment} could not be made"):
            make_image_environment()
    else:
        assert make_image_environment() == environment / "bin"
        assert environment.is_dir()


def test_an_end_during_the_set_up_ends_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of a pipe is told when the last of its writers has gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    uv = "import os, signal, time; os.kill(int(os.environ['OURS']), signal.SIGTERM); time.sleep(60)"
    script = tmp_path / "requirements" / "install.py"
    script.parent.mkdir()
    script.write_text(
        "import subprocess, sys\n"
        f'with open("{pipe}", "w") as out:\n'
        f'    subprocess.run([sys.executable, "-c", {uv!r}], stdout=out)\n'
    )
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("OURS", str(os.getpid()))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            make_image_environment()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert select.select([reader], [], [], 20)[0], "somebody still holds the pipe"
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.fixture
def command(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Values | str], int]:
    """`run-spec` on a spec, in a folder that holds it and the data; returns its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "make_image_environment", lambda: COMMANDS)

    def run(spec: Values | str) -> int:
        (tmp_path / "spec.json").write_text(spec if isinstance(spec, str) else json.dumps(spec))
        return main(["run-spec", "spec.json", "--root", "root", "--data", data.name])

    return run


def test_the_command_shows_the_tasks_and_the_pushed_model(
    command: Callable[[Values], int],
    values: Values,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(values) == Exit.DONE
    said = capsys.readouterr()
    head, *rows, last = said.out.splitlines()
    assert head.split() == ["task", "seconds", "CPU", "s", "peak", "MB"]
    assert [row.split()[:2] for row in rows] == [
        ["1/3", "Make"],
        ["2/3", "Train"],
        ["3/3", "Pusher"],
    ]
    assert all(
        len(row.split()) == 5 and float(row.split()[-1].replace(",", "")) > 0 for row in rows
    )
    assert last == f"model   {root}/serving/dog_emotion/1"
    assert said.err == ""
    assert command(values) == Exit.DONE
    _, *rows, again = capsys.readouterr().out.splitlines()
    assert {row.split()[-1] for row in rows} == {"cached"}
    assert again == last


def test_the_command_says_which_span_is_read_and_which_are_left_out(
    command: Callable[[Values], int],
    values: Values,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in (1, 2, 3):
        span = data / f"span-{number}"
        span.mkdir()
        manifest = dict.fromkeys(spans.KEYS) | {"only_new": number > 1}
        spans.write_manifest(span, manifest)
    assert command(values) == Exit.DONE
    said = f"data    {data.name}/span-3, without span-2, span-1, to which it adds"
    assert said in capsys.readouterr().out.splitlines()
    shutil.rmtree(data / "span-3")
    spans.write_manifest(data / "span-2", {**manifest, "only_new": False})
    assert command(values) == Exit.DONE
    assert f"data    {data.name}/span-2" in capsys.readouterr().out.splitlines()


def test_the_command_says_which_model_a_resolver_found(
    command: Callable[[Values], int],
    resolving: Callable[[int, int], Values],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(resolving(1, 1)) == Exit.DONE
    assert "Baseline                                    found nothing\n" in capsys.readouterr().out
    assert command(resolving(2, 1)) == Exit.DONE
    assert "found 1/Train/model\n" in capsys.readouterr().out


def test_a_model_that_the_gate_blocks_is_3(
    command: Callable[[Values], int], values: Values, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(with_script(values, "Pusher", BLOCK)) == Exit.BLOCKED
    said = capsys.readouterr()
    assert said.err == "dog-emotion: the gate blocked the model; nothing was pushed\n"
    assert "model " not in said.out


def test_a_failed_task_is_1(
    command: Callable[[Values], int], values: Values, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(with_script(values, "Train", FAIL)) == Exit.FAILED
    said = capsys.readouterr()
    assert said.err.startswith("dog-emotion: task Train failed with status 7; the end of ")
    assert "model " not in said.out


def test_a_folder_that_cannot_be_written_is_1(
    command: Callable[[Values], int],
    values: Values,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root.write_text("a file")
    assert command(values) == Exit.FAILED
    assert str(root) in capsys.readouterr().err


def test_a_broken_spec_is_2(
    command: Callable[[str], int], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("{") == Exit.USAGE
    assert capsys.readouterr().err.startswith("dog-emotion: spec.json: neither JSON nor YAML")
    assert not root.exists()


def test_a_missing_folder_of_data_is_2(
    command: Callable[[Values], int],
    values: Values,
    data: Path,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.rmtree(data)
    assert command(values) == Exit.USAGE
    assert capsys.readouterr().err == "dog-emotion: --data data: there is no such folder\n"
    assert not root.exists()


def test_an_interruption_is_130(
    command: Callable[[Values], int],
    values: Values,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(os, "wait4", interrupt)
        assert command(values) == Exit.INTERRUPTED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dog-emotion: interrupted")


def test_sigterm_ends_the_task_as_ctrl_c_does(
    command: Callable[[Values], int],
    values: Values,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pid = tmp_path / "pid"
    wait = f"""
import signal, time
pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""
    assert command(with_script(values, "Train", wait)) == Exit.INTERRUPTED
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dog-emotion: interrupted")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (lambda spec: spec["root"].pop("inputDefinitions"), "a parameter data_root"),
        (
            lambda spec: spec["root"]["dag"]["tasks"].pop("Pusher"),
            "a task Pusher with an output pushed_model",
        ),
        (
            lambda spec: spec["components"]["Pusher"].pop("outputDefinitions"),
            "a task Pusher with an output pushed_model",
        ),
        (
            lambda spec: spec["deploymentSpec"]["executors"]["Make"]["container"].pop("command"),
            "a command for task Make",
        ),
        (
            lambda spec: spec["deploymentSpec"]["executors"].update(Make={"importer": {}}),
            "a command for task Make",
        ),
        (
            lambda spec: spec["deploymentSpec"]["executors"]["Make"]["container"].update(
                command=["python", "-m", KUBEFLOW_TASK]
            ),
            "a defaultPipelineRoot in gs:// or s3:// or minio://",
        ),
    ],
)
def test_a_spec_of_another_pipeline_is_2_in_one_line(
    command: Callable[[Values], int],
    values: Values,
    change: Callable[[Values], object],
    lacking: str,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "parameter" in lacking:
        for each in values["root"]["dag"]["tasks"].values():
            each["inputs"]["parameters"] = {}
    change(values)
    assert command(values) == Exit.USAGE
    assert capsys.readouterr().err == (
        f"dog-emotion: spec.json: `dog-emotion compile` has not written this: it lacks {lacking}\n"
    )
    assert not root.exists()
