"""The graph: one `create_pipeline()` for every environment."""

import json
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2
from tfx.components import (
    Evaluator,
    ExampleValidator,
    ImportExampleGen,
    Pusher,
    StatisticsGen,
    Trainer,
    Transform,
)
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2, transform_pb2
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

import components
from components.activation_cache import ActivationCache
from components.backbone import boundary_of, weights_fingerprint
from components.evaluation import eval_config
from components.pusher import PusherExecutor
from components.schema_gate import AnomalyGate, ClassDomain
from components.servable_gate import ServableGate
from components.trainer import TrainerExecutor
from data.features import MODEL_NAME, SPLITS, TEST, TRAIN, VAL
from pipeline.code_hash import code_hash
from pipeline.config import Config

SCHEMA = Path(components.__file__).with_name("schema.pbtxt")

# Non-empty Beam arguments without a named container make TFX pack itself into an sdist for
# every Beam node. DirectRunner would look for the Prism binary on the internet first.
LOCAL_BEAM_ARGS = [
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "--sdk_container_image=in-process",
]


def create_pipeline(
    config: Config,
    *,
    pipeline_root: str,
    data_root: str,
    serving_root: str,
    beam_pipeline_args: list[str],
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
) -> Pipeline:
    """Builds the TFX pipeline; no data is read.

    Args:
        config: the run's configuration, `auto` resolved.
        pipeline_root: where artifacts go.
        data_root: the folder of `span-N` folders of TFRecord shards.
        serving_root: the folder of model versions to push to.
        beam_pipeline_args: of every Beam node.
        metadata_connection_config: the MLMD store; None where the platform has its own.

    Raises:
        ComponentError: the weights cannot be read, or `unfreeze_layers` does not fit the backbone.
    """
    augmentation = config.training.augmentation
    if "auto" in (config.model.backbone, config.model.weights, augmentation.mode):
        raise ValueError(f"`auto` must be resolved before: {config.model}, {augmentation}")
    classes = list(config.classes)
    example_gen = ImportExampleGen(
        input_base=data_root,
        input_config=example_gen_pb2.Input(
            splits=[
                example_gen_pb2.Input.Split(
                    name=split, pattern=f"span-{{SPAN}}/{split}-*.tfrecord.gz"
                )
                for split in SPLITS
            ]
        ),
    )
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    import_schema = ImportSchemaGen(schema_file=str(SCHEMA))
    class_domain = ClassDomain(
        imported=import_schema.outputs["schema"], classes=json.dumps(classes)
    )
    schema = class_domain.outputs["schema"]
    example_validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema
    )
    anomaly_gate = AnomalyGate(anomalies=example_validator.outputs["anomalies"])
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema,
        preprocessing_fn="components.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[TRAIN], transform=list(SPLITS)),
        materialize=False,
        disable_statistics=True,
        custom_config={"classes": classes, "code": code_hash("components.preprocessing")},
    )
    # Nothing may be learnt from data that the gate has not let through.
    transform.add_upstream_node(anomaly_gate)
    activation_caches = []
    training_examples = example_gen.outputs["examples"]
    if augmentation.mode == "cached":
        cache = ActivationCache(
            examples=example_gen.outputs["examples"],
            transform_graph=transform.outputs["transform_graph"],
            statistics=statistics_gen.outputs["statistics"],
            backbone=config.model.backbone,
            weights=config.model.weights,
            weights_hash=weights_fingerprint(config.model.backbone, config.model.weights),
            boundary=boundary_of(config.model.backbone, config.model.unfreeze_layers),
            augmentation=augmentation.model_dump_json(exclude={"mode"}),
            code=code_hash("components.activation_cache"),
        )
        activation_caches.append(cache)
        training_examples = cache.outputs["activations"]
    trainer = Trainer(
        run_fn="components.trainer.run_fn",
        custom_executor_spec=ExecutorClassSpec(TrainerExecutor),
        examples=training_examples,
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
        eval_args=trainer_pb2.EvalArgs(splits=[VAL, TEST]),
        custom_config={
            "classes": classes,
            "model": config.model.model_dump(),
            "training": config.training.model_dump(),
            "code": code_hash("components.trainer"),
        },
    )
    servable_gate = ServableGate(
        model=trainer.outputs["model"], code=code_hash("components.servable_gate")
    )
    resolver = Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id("LatestBlessedModel")
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=resolver.outputs["model"],
        eval_config=eval_config(config.gate),
        example_splits=[TEST],
    )
    pusher = Pusher(
        custom_executor_spec=ExecutorClassSpec(PusherExecutor),
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_root)
        ),
    )
    pusher.add_upstream_node(servable_gate)
    return Pipeline(
        pipeline_name=MODEL_NAME,
        pipeline_root=pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            import_schema,
            class_domain,
            example_validator,
            anomaly_gate,
            transform,
            *activation_caches,
            trainer,
            servable_gate,
            resolver,
            evaluator,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=beam_pipeline_args,
    )
