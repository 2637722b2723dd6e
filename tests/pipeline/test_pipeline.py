import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tfx.components.example_gen.input_processor import FileBasedInputProcessor
from tfx.dsl.compiler.compiler import Compiler
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.proto.orchestration import pipeline_pb2

from components.errors import ComponentError
from components.model.settings import ModelSettings
from components.nodes.schema import curated_schema
from components.training.augmentation_settings import AugmentationSettings
from components.training.settings import TrainingSettings
from data.contract.model import push_destination
from pipeline import pipeline
from pipeline.beam_args import LOCAL_BEAM_ARGS
from pipeline.code_hash import code_hash
from pipeline.config import load_config
from pipeline.pipeline import create_pipeline

Nodes = dict[str, pipeline_pb2.PipelineNode]

NODES = [
    "ImportExampleGen",
    "StatisticsGen",
    "CuratedSchema",
    "ExampleValidator",
    "EarlierStatistics",
    "DriftValidator",
    "DataGate",
    "Transform",
    "ActivationCache",
    "Trainer",
    "Curves",
    "Report",
    "ServableGate",
    "LastPushedModel",
    "BestPushedModel",
    "Evaluator",
    "Pusher",
]


TINY = "components.model.backbones.tiny"
RESOLVED = ("model.weights=random", "training.augmentation.mode=cached")
ON_THE_FLY = "training.augmentation.mode=on_the_fly"


def compiled(*overrides: str, span: int | None = None) -> pipeline_pb2.Pipeline:
    """The graph in TFX's own form, made where there is neither data nor a folder."""
    graph = create_pipeline(
        load_config("tiny", overrides=(*RESOLVED, *overrides)),
        pipeline_root="/nowhere/pipeline",
        data_root="/nowhere/data",
        span=span,
        push_destination=push_destination("/nowhere/serving"),
        beam_pipeline_args=LOCAL_BEAM_ARGS,
    )
    return Compiler().compile(graph)


def nodes_of(graph: pipeline_pb2.Pipeline) -> Nodes:
    return {each.pipeline_node.node_info.id: each.pipeline_node for each in graph.nodes}


@pytest.fixture(scope="module")
def nodes() -> Nodes:
    return nodes_of(compiled('classes=["calm", "wild"]', "model.unfreeze_layers=5"))


def parameter(node: pipeline_pb2.PipelineNode, key: str) -> str:
    return node.parameters.parameters[key].field_value.string_value


def parsed(node: pipeline_pb2.PipelineNode, key: str) -> Any:
    return json.loads(parameter(node, key))


def producers(node: pipeline_pb2.PipelineNode, key: str) -> list[str]:
    return [each.producer_node_query.id for each in node.inputs.inputs[key].channels]


def test_no_node_is_none() -> None:
    """TFX turns the ImportError of a component into None."""
    nodes = {name: value for name, value in vars(pipeline).items() if name[0].isupper()}
    assert {"Trainer", "Evaluator", "Resolver", "DataGate"} < nodes.keys()
    assert not [name for name, value in nodes.items() if value is None]


def test_it_compiles_without_data_to_these_nodes(nodes: Nodes) -> None:
    assert sorted(nodes) == sorted(NODES)
    assert not Path("/nowhere").exists()


def test_nothing_runs_before_what_it_depends_on(nodes: Nodes) -> None:
    order = list(nodes)
    for name, node in nodes.items():
        assert all(order.index(above) < order.index(name) for above in node.upstream_nodes)


@pytest.mark.parametrize(
    ("node", "upstream"),
    [
        ("StatisticsGen", {"ImportExampleGen"}),
        ("ExampleValidator", {"StatisticsGen", "CuratedSchema"}),
        ("EarlierStatistics", {"ImportExampleGen"}),
        ("DriftValidator", {"StatisticsGen", "EarlierStatistics"}),
        ("DataGate", {"ImportExampleGen", "StatisticsGen", "ExampleValidator", "DriftValidator"}),
        ("Transform", {"ImportExampleGen", "CuratedSchema", "DataGate"}),
        ("ActivationCache", {"ImportExampleGen", "Transform", "StatisticsGen"}),
        ("Trainer", {"ActivationCache", "Transform"}),
        (
            "Evaluator",
            {"ImportExampleGen", "Trainer", "LastPushedModel", "BestPushedModel", "ServableGate"},
        ),
        ("ServableGate", {"Trainer"}),
        ("Pusher", {"Trainer", "Evaluator"}),
        (
            "Report",
            {"ImportExampleGen", "StatisticsGen", "ActivationCache", "Trainer", "Evaluator"},
        ),
    ],
)
def test_a_node_waits_for_these(nodes: Nodes, node: str, upstream: set[str]) -> None:
    assert set(nodes[node].upstream_nodes) == upstream


def test_the_splits_are_those_that_ingestion_wrote(nodes: Nodes) -> None:
    config = parsed(nodes["ImportExampleGen"], "input_config")
    assert {split["name"]: split["pattern"] for split in config["splits"]} == {
        split: f"span-{{SPAN}}/{split}-*.tfrecord.gz" for split in ("train", "val", "test")
    }
    assert parameter(nodes["ImportExampleGen"], "input_base") == "/nowhere/data"


def test_the_span_of_a_run_is_read_whatever_is_beside_it(tmp_path: Path) -> None:
    for name in ("span-2", "span-3", "span-2.bak", "span-02", "span-22", "span-4 (copy)", "span-x"):
        (tmp_path / name).mkdir()
        for split in ("train", "val", "test"):
            (tmp_path / name / f"{split}-00000-of-00001.tfrecord.gz").write_text(name)
    node = nodes_of(compiled(span=2))["ImportExampleGen"]
    found = FileBasedInputProcessor(
        str(tmp_path),
        json_format.Parse(parameter(node, "input_config"), example_gen_pb2.Input()).splits,
        json_format.Parse(parameter(node, "range_config"), range_config_pb2.RangeConfig()),
    )
    assert found.resolve_span_and_version() == (2, None)
    pattern = "span-{SPAN}/val-*.tfrecord.gz"
    assert found.get_pattern_for_span_version(pattern, 2, None) == "span-2/val-*.tfrecord.gz"


def test_no_photo_is_shuffled_to_be_counted(nodes: Nodes) -> None:
    assert parsed(nodes["StatisticsGen"], "stats_options_json")["_use_sketch_based_topk_uniques"]


def test_transform_learns_from_train_alone_and_writes_no_pixels(nodes: Nodes) -> None:
    node = nodes["Transform"]
    assert set(node.outputs.outputs) == {"transform_graph", "updated_analyzer_cache"}
    assert parsed(node, "splits_config")["analyze"] == ["train"]
    assert parameter(node, "preprocessing_fn") == "components.model.preprocessing.preprocessing_fn"


@pytest.mark.parametrize(
    ("overrides", "source"), [((), "ActivationCache"), ((ON_THE_FLY,), "ImportExampleGen")]
)
def test_the_trainer_reads_the_records_and_validates_on_val(
    overrides: tuple[str, ...], source: str
) -> None:
    node = nodes_of(compiled(*overrides))["Trainer"]
    assert producers(node, "examples") == [source]
    assert producers(node, "transform_graph") == ["Transform"]
    assert parsed(node, "train_args")["splits"] == ["train"]
    assert parsed(node, "eval_args")["splits"] == ["val"]
    assert parameter(node, "run_fn") == "components.nodes.trainer.run_fn"


def test_the_evaluator_compares_with_the_last_pushed_model_and_the_best(nodes: Nodes) -> None:
    node = nodes["Evaluator"]
    assert parsed(node, "classes") == ["calm", "wild"]
    for key, finder in (
        ("baseline_model", "LastPushedModel"),
        ("best_models", "BestPushedModel"),
        ("best_pushes", "BestPushedModel"),
    ):
        assert producers(node, key) == [finder]
        assert not node.inputs.inputs[key].min_count


def test_a_model_is_pushed_with_its_blessing_to_the_serving_folder(nodes: Nodes) -> None:
    node = nodes["Pusher"]
    assert producers(node, "model_blessing") == ["Evaluator"]
    destination = parsed(node, "push_destination")["filesystem"]
    assert destination["base_directory"] == "/nowhere/serving"


def test_classes_and_settings_travel_to_the_nodes(nodes: Nodes) -> None:
    assert parameter(nodes["CuratedSchema"], "text") == curated_schema(["calm", "wild"])
    assert parsed(nodes["Transform"], "custom_config")["classes"] == ["calm", "wild"]
    custom = parsed(nodes["Trainer"], "custom_config")
    assert custom["classes"] == ["calm", "wild"]
    assert ModelSettings.model_validate(custom["model"]).unfreeze_layers == 5
    expected = load_config("tiny", overrides=RESOLVED).training
    assert TrainingSettings.model_validate(custom["training"]) == expected


def test_without_a_cache_there_is_no_node_for_it() -> None:
    assert {*NODES} - {*nodes_of(compiled(ON_THE_FLY))} == {"ActivationCache"}


def test_tuning_is_a_node_between_the_cache_and_the_trainer_and_changes_no_other() -> None:
    before, after = nodes_of(compiled()), nodes_of(compiled("training.tune=true"))
    assert {*after} - {*before} == {"Tuner"}
    tuner, trainer = after["Tuner"], after["Trainer"]
    assert producers(tuner, "examples") == ["ActivationCache"]
    assert parameter(tuner, "tuner_fn") == "components.nodes.tuner.tuner_fn"
    assert parsed(tuner, "train_args")["splits"] == ["train"]
    assert parsed(tuner, "eval_args")["splits"] == ["val"]
    code = code_hash("components.nodes.tuner", TINY)
    assert parsed(tuner, "custom_config")["code"] == code
    assert producers(trainer, "hyperparameters") == ["Tuner"]
    assert "hyperparameters" not in before["Trainer"].inputs.inputs
    concerned = {name for name in before if parameters(before[name]) != parameters(after[name])}
    assert concerned == {"Trainer", "Report"}


def parameters(node: pipeline_pb2.PipelineNode) -> str:
    return str(node.parameters)


def test_the_cache_is_keyed_by_all_that_its_content_depends_on(nodes: Nodes) -> None:
    node = nodes["ActivationCache"]
    assert json.loads(parameter(node, "members")) == [
        {
            "backbone": "tiny",
            "weights": "random",
            "weights_hash": "none",
            "boundary_layer": "block4_add",  # 5 layers: within the fifth block
            "code": code_hash(
                "components.nodes.activation_cache", "components.model.preprocessing", TINY
            ),
        }
    ]
    settings = AugmentationSettings.model_validate_json(parameter(node, "augmentation"))
    assert settings == AugmentationSettings()


def test_a_setting_that_nobody_resolved_is_refused() -> None:
    with pytest.raises(ValueError, match="auto"):
        compiled("training.augmentation.mode=auto")


def test_nothing_frozen_leaves_nothing_to_cache() -> None:
    with pytest.raises(ComponentError, match="unfreeze_layers 43 leaves no layer of tiny frozen"):
        compiled("model.unfreeze_layers=43")


@pytest.mark.parametrize(
    ("node", "modules"),
    [
        ("Transform", ("components.model.preprocessing",)),
        ("Trainer", ("components.nodes.trainer", TINY)),
    ],
)
def test_the_code_of_a_user_function_is_part_of_its_cache_key(
    node: str, modules: tuple[str, ...]
) -> None:
    assert parsed(nodes_of(compiled())[node], "custom_config")["code"] == code_hash(*modules)


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("CuratedSchema", "components.nodes.schema"),
        ("DriftValidator", "components.nodes.distributions"),
        ("DataGate", "components.nodes.data_gate"),
        ("ServableGate", "components.nodes.servable_gate"),
        ("Evaluator", "components.nodes.evaluator"),
    ],
)
def test_the_code_of_a_node_of_ours_is_part_of_its_cache_key(node: str, module: str) -> None:
    assert parameter(nodes_of(compiled())[node], "code") == code_hash(module)


@pytest.mark.parametrize("mode", ["cached", "on_the_fly"])
def test_other_weights_under_the_same_name_train_again(mode: str, tmp_path: Path) -> None:
    weights = tmp_path / "own.weights.h5"
    settings = (f"model.weights={weights}", f"training.augmentation.mode={mode}")
    weights.write_bytes(b"first")
    before = nodes_of(compiled(*settings))
    weights.write_bytes(b"second")
    after = nodes_of(compiled(*settings))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"Trainer"} | ({"ActivationCache"} if mode == "cached" else set())


def test_every_node_may_be_taken_from_the_cache(nodes: Nodes) -> None:
    cached = {
        name for name, node in nodes.items() if node.execution_options.caching_options.enable_cache
    }
    resolved_anew = {"EarlierStatistics", "LastPushedModel", "BestPushedModel"}
    assert cached >= {*NODES} - resolved_anew


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("training.seed=5", {"Trainer"}),
        ("training.unfrozen.learning_rate=0.5", {"Trainer"}),
        ("training.augmentation.views=3", {"ActivationCache", "Trainer"}),
        ("model.unfreeze_layers=29", {"Trainer"}),
        ("model.unfreeze_layers=20", {"ActivationCache", "Trainer"}),
        ("model.dropout=0.5", {"Trainer"}),
        ("gate.accuracy_floor=0.9", {"Evaluator"}),
        ("gate.error_rate=0.1", {"Evaluator"}),
        ("demo.photos_per_class=50", set()),
    ],
)
def test_a_setting_concerns_only_the_nodes_that_use_it(override: str, changed: set[str]) -> None:
    before, after = nodes_of(compiled()), nodes_of(compiled(override))
    # The report shows all settings.
    assert {name for name in before if before[name] != after[name]} == changed | {"Report"}


def test_the_same_configuration_compiles_to_the_same_graph() -> None:
    assert compiled() == compiled()
