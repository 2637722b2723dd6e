"""The graph: one `create_pipeline()` for every environment."""

from collections.abc import Sequence
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.components import (
    ExampleValidator,
    ImportExampleGen,
    Pusher,
    StatisticsGen,
    Trainer,
    Transform,
)
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import (
    LatestBlessedModelStrategy,
)
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import (
    example_gen_pb2,
    pusher_pb2,
    range_config_pb2,
    trainer_pb2,
    transform_pb2,
)
from tfx.types.channel import Channel
from tfx.types.standard_artifacts import Model, ModelBlessing

from components.activation_cache import ActivationCache
from components.backbone import boundary_of, weights_fingerprint
from components.baseline import Evaluator, LatestPushedModel
from components.evaluation import eval_config
from components.pusher import PusherExecutor
from components.schema_gate import AnomalyGate, CuratedSchema, curated_schema
from components.servable_gate import ServableGate
from components.trainer import TrainerExecutor
from data.features import SPLITS, TEST, TRAIN, VAL
from pipeline.code_hash import code_hash
from pipeline.config import Config, Resources

PIPELINE_NAME = "dog-emotion"


def create_pipeline(
    config: Config,
    *,
    pipeline_root: str,
    data_root: str | RuntimeParameter,
    span: int | None = None,
    push_destination: pusher_pb2.PushDestination | RuntimeParameter,
    beam_pipeline_args: Sequence[str],
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
    runs_resolvers: bool = True,
    image: str = "",
) -> Pipeline:
    """Builds the TFX pipeline; no data is read.

    Args:
        config: the run's configuration, `auto` resolved.
        pipeline_root: where artifacts go.
        data_root: the folder of `span-N` folders of TFRecord shards.
        span: the number of the one to read; None is the newest, and then nothing else there may
            be named `span-...`.
        push_destination: the folder of model versions to push to; a RuntimeParameter is its JSON.
        beam_pipeline_args: of every Beam node.
        metadata_connection_config: the MLMD store; None where the platform has its own.
        runs_resolvers: whether the platform can look up the last blessed model.
        image: the container image that custom training on Vertex AI runs.

    Raises:
        ComponentError: the weights cannot be read, or `unfreeze_layers` does not fit the backbone.
    """
    augmentation = config.training.augmentation
    if "auto" in (config.model.backbone, config.model.weights, augmentation.mode):
        raise ValueError(f"`auto` must be resolved before: {config.model}, {augmentation}")
    classes = list(config.classes)
    span_range = None
    if span is not None:
        # Looking for the newest, TFX takes all that follows `span-` for a number: `1.bak` too.
        only = range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
        span_range = range_config_pb2.RangeConfig(static_range=only)
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
        range_config=span_range,
    )
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    curated = CuratedSchema(text=curated_schema(classes))
    schema = curated.outputs["schema"]
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
    trainer_executor, training_config, pusher_executor, serving_config = _on_platform(config, image)
    trainer = Trainer(
        run_fn="components.trainer.run_fn",
        custom_executor_spec=ExecutorClassSpec(trainer_executor),
        examples=training_examples,
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
        eval_args=trainer_pb2.EvalArgs(splits=[VAL, TEST]),
        custom_config={
            "classes": classes,
            "model": config.model.model_dump(),
            "training": config.training.model_dump(),
            "code": code_hash("components.trainer"),
            **training_config,
        },
    )
    servable_gate = ServableGate(
        model=trainer.outputs["model"], code=code_hash("components.servable_gate")
    )
    baseline = (
        Resolver(
            strategy_class=LatestBlessedModelStrategy,
            model=Channel(type=Model),
            model_blessing=Channel(type=ModelBlessing),
        ).with_id("LatestBlessedModel")
        if runs_resolvers
        else LatestPushedModel(push_destination=push_destination)
    )
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        eval_config=eval_config(config.gate),
        example_splits=[TEST],
    )
    pusher = Pusher(
        custom_executor_spec=ExecutorClassSpec(pusher_executor),
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=push_destination,
        custom_config=serving_config,
    )
    pusher.add_upstream_node(servable_gate)
    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=pipeline_root,
        components=[
            example_gen,
            statistics_gen,
            curated,
            example_validator,
            anomaly_gate,
            transform,
            *activation_caches,
            trainer,
            servable_gate,
            baseline,
            evaluator,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


def _on_platform(
    config: Config, image: str
) -> tuple[type[BaseExecutor], dict[str, Any], type[BaseExecutor], dict[str, Any] | None]:
    """What executes Trainer and Pusher, and what else each of them is told."""
    settings = config.vertex
    if settings is None:
        return TrainerExecutor, {}, PusherExecutor, None
    from components import vertex  # takes 15 seconds of CPU

    where = {"project": settings.project, "region": settings.region}
    resources = config.resources.get("Trainer", Resources())
    return (
        vertex.VertexTrainerExecutor,
        vertex.training_config(
            **where,
            image=image,
            machine=settings.training_machine,
            gpu=resources.gpu,
            gpu_type=resources.gpu_type,
        ),
        vertex.VertexPusherExecutor,
        vertex.serving_config(
            **where,
            endpoint=settings.endpoint,
            machine=settings.serving_machine,
            image=settings.serving_image,
        ),
    )
