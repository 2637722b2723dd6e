import os
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.portability.flink_runner import FlinkRunner
from apache_beam.runners.worker import sdk_worker_main
from apache_beam.transforms.environments import ExternalEnvironment
from tfx.utils.dependency_utils import make_beam_dependency_flags

from data.ingest import BEAM_OPTIONS
from pipeline.beam_args import (
    LOCAL_BEAM_ARGS,
    Option,
    beam_args,
    has_worker_processes,
    is_local,
    prepared_workers,
)
from pipeline.config import ConfigError, load_config

FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def dataflow(*overrides: str) -> dict[str, Option]:
    """What the profile for Dataflow comes to."""
    return load_config("tiny", "dataflow", overrides=overrides).beam


def read(arguments: tuple[str, ...]) -> dict[str, object]:
    """The options as Beam itself reads them."""
    return dict(PipelineOptions(list(arguments)).get_all_options())


def test_without_options_beam_runs_in_this_process() -> None:
    assert beam_args({}) == LOCAL_BEAM_ARGS
    assert set(BEAM_OPTIONS) < set(LOCAL_BEAM_ARGS)
    assert read(beam_args({}))["runner"] == FN_API_RUNNER


def test_tfx_packs_no_copy_of_itself_for_a_local_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    def pack() -> str:
        raise AssertionError("it takes seconds for every Beam node")

    monkeypatch.setattr("tfx.utils.dependency_utils.build_ephemeral_package", pack)
    arguments = list(LOCAL_BEAM_ARGS)
    assert make_beam_dependency_flags(arguments) == list(LOCAL_BEAM_ARGS)
    with pytest.raises(AssertionError):
        make_beam_dependency_flags(list(BEAM_OPTIONS))


def test_an_option_is_laid_over_the_local_ones() -> None:
    options = read(beam_args({"runner": "DirectRunner", "direct_num_workers": 2}))
    assert options["runner"] == "DirectRunner"
    assert options["direct_num_workers"] == 2
    assert options["sdk_container_image"] == read(LOCAL_BEAM_ARGS)["sdk_container_image"]


def test_no_option_is_given_twice() -> None:
    arguments = beam_args({"runner": "DirectRunner", "sdk_container_image": "mine"})
    assert [each for each in arguments if "=mine" in each] == ["--sdk_container_image=mine"]
    names = [argument.partition("=")[0] for argument in arguments]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        ("text", ["--x=text"]),
        (4, ["--x=4"]),
        (0.5, ["--x=0.5"]),
        (["a", "b"], ["--x=a", "--x=b"]),
        ([], []),
        (True, ["--x"]),
        (False, []),
        ("{root}/beam of {image}", ["--x=gs://b/runs/beam of img:1"]),
        (["{image}"], ["--x=img:1"]),
    ],
)
def test_a_value_becomes_what_beam_reads(value: Option, arguments: list[str]) -> None:
    made = beam_args({"x": value}, image="img:1", root="gs://b/runs")
    assert [each for each in made if each.partition("=")[0] == "--x"] == arguments


def test_other_braces_are_left_as_they_are() -> None:
    assert '--x={"a": 1}' in beam_args({"x": '{"a": 1}'}, image="img:1")


def test_dataflow_without_a_project_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigError) as caught:
        beam_args(dataflow())
    assert str(caught.value) == (
        "beam.runner = DataflowRunner: set beam.project too, as in --set beam.project=..."
    )


@pytest.mark.parametrize("missing", ["project", "region", "temp_location", "sdk_container_image"])
def test_each_thing_that_dataflow_needs_is_named(missing: str) -> None:
    complete = dataflow("beam.project=p")
    with pytest.raises(ConfigError, match=f"set beam.{missing} too"):
        beam_args({name: value for name, value in complete.items() if name != missing})


def test_workers_elsewhere_need_an_image_whatever_the_runner() -> None:
    with pytest.raises(ConfigError, match=r"beam.runner = FlinkRunner: set beam.sdk_container_im"):
        beam_args({"runner": "FlinkRunner"})
    assert "--runner=FlinkRunner" in beam_args(
        {"runner": "FlinkRunner", "sdk_container_image": "i"}
    )


def test_dataflow_gets_the_image_and_a_folder_under_the_root() -> None:
    arguments = beam_args(dataflow("beam.project=p"), image="img:1", root="gs://b/runs")
    options = read(arguments)
    assert options["runner"] == "DataflowRunner"
    assert options["project"] == "p"
    assert options["region"] == "us-central1"
    assert options["temp_location"] == "gs://b/runs/beam"
    assert options["sdk_container_image"] == "img:1"
    assert not set(LOCAL_BEAM_ARGS) & set(arguments)


def test_flink_gets_options_that_beam_knows_and_accepts() -> None:
    given = load_config("tiny", "flink").beam
    options = PipelineOptions(list(beam_args(given)))
    assert options.get_all_options(drop_default=True, retain_unknown_options=True) == {
        **given,
        "sdk_container_image": "none",
        "beam_plugins": ["tfx"],
    }
    runner = options.view_as(FlinkRunnerOptions)
    assert runner.flink_submit_uber_jar
    assert FlinkRunner.add_http_scheme(runner.flink_master) == given["flink_master"]
    assert not PipelineOptionsValidator(options, FlinkRunner()).validate()


def test_flinks_pools_are_where_beam_asks_for_workers() -> None:
    given = load_config("tiny", "flink").beam
    options = PipelineOptions(list(beam_args(given))).view_as(PortableOptions)
    environment = FlinkRunner().default_environment(options)
    assert isinstance(environment, ExternalEnvironment)
    assert environment.url == given["environment_config"]


def test_worker_pools_need_an_address_and_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Option] = {"runner": "PortableRunner", "environment_type": "EXTERNAL"}
    with pytest.raises(ConfigError, match=r"PortableRunner: set beam.environment_config too"):
        beam_args(options)
    arguments = beam_args({**options, "environment_config": "localhost:50000"})
    monkeypatch.delattr("tfx.utils.dependency_utils.build_ephemeral_package")
    assert make_beam_dependency_flags([*arguments]) == [*arguments]


@pytest.mark.parametrize(
    ("options", "local"),
    [
        ({}, True),
        ({"direct_num_workers": 2}, True),
        ({"runner": "DirectRunner"}, True),
        ({"runner": FN_API_RUNNER}, True),
        ({"runner": "DataflowRunner"}, False),
        ({"runner": "apache_beam.runners.dataflow.DataflowRunner"}, False),
        ({"runner": "FlinkRunner"}, False),
    ],
)
def test_a_runner_is_known_to_be_local_by_its_name(options: dict[str, Option], local: bool) -> None:
    assert is_local(options) is local


PROCESSES: dict[str, Option] = {"direct_running_mode": "multi_processing", "direct_num_workers": 2}


def test_workers_elsewhere_import_tfx_first() -> None:
    options = read(beam_args(dataflow("beam.project=p")))
    assert options["beam_plugins"] == ["tfx"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, False), ({"direct_num_workers": 2}, False), (PROCESSES, True), (dataflow(), False)],
)
def test_worker_processes_are_known_by_the_running_mode(
    options: dict[str, Option], expected: bool
) -> None:
    assert has_worker_processes(options) is expected


def test_worker_processes_find_the_same_option_in_the_environment_while_they_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_grpc_proxy", "mine")
    before = dict(os.environ)
    with prepared_workers(PROCESSES):
        file = Path(os.environ["PIPELINE_OPTIONS_FILE"])
        assert sdk_worker_main._load_pipeline_options(file.read_text()) == {"beam_plugins": ["tfx"]}
        assert {"no_grpc_proxy": "localhost"}.items() <= os.environ.items()
    assert dict(os.environ) == before
    assert not file.exists()


def test_without_worker_processes_the_environment_is_left_alone() -> None:
    before = dict(os.environ)
    with prepared_workers({}):
        assert dict(os.environ) == before
