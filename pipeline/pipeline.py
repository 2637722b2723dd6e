"""The graph: one `create_pipeline()` for every environment."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tfx.components import (
    ExampleValidator,
    Pusher,
    StatisticsGen,
    Trainer,
    Transform,
    Tuner,
)
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.components.base.base_node import BaseNode
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
from tfx.types.channel import BaseChannel, Channel
from tfx.types.standard_artifacts import (
    ExampleAnomalies,
    ExampleStatistics,
    Model,
    ModelBlessing,
    ModelEvaluation,
    PushedModel,
)
from tfx.utils import proto_utils

from components.data_gate.settings import DRIFT, LIMIT_OF, SKEW
from components.model.backbone import module_of
from components.model.freezing import boundary_layer_of
from components.model.weights import weights_fingerprint
from components.nodes.activation_cache import ActivationCache, Member
from components.nodes.baseline import (
    BestPushedModel,
    BestPushedStrategy,
    LastPushedStrategy,
    LatestPushedModel,
)
from components.nodes.curves import Curves
from components.nodes.data_gate import DataGate
from components.nodes.distributions import (
    SERVED,
    DistributionValidator,
    EarlierSpanStrategy,
    ServedStatistics,
)
from components.nodes.evaluator import Evaluator
from components.nodes.example_gen import ImportExampleGen
from components.nodes.pusher import PusherExecutor
from components.nodes.report import Report
from components.nodes.schema import CuratedSchema, curated_schema
from components.nodes.servable_gate import ServableGate
from components.nodes.trainer import TrainerExecutor
from components.report.page import look
from data.contract.features import SPLITS, TRAIN, VAL
from data.contract.nodes import (
    BEST_PUSHED_MODEL,
    DRIFT_VALIDATOR,
    EARLIER_STATISTICS,
    LAST_PUSHED_MODEL,
    LATEST_BLESSED_MODEL,
    LATEST_PUSHED_MODEL,
    PUSHER,
    SKEW_VALIDATOR,
    TRAINER,
)
from pipeline.code_hash import code_hash
from pipeline.config import Config, Resources

PIPELINE_NAME = "dog-emotion"

Platform = Literal["local", "kubeflow", "vertex"]

Parameter: TypeAlias = str | RuntimeParameter
"""A value, or the name under which a compiled pipeline gets it."""

UNCACHED = (LATEST_PUSHED_MODEL, BEST_PUSHED_MODEL, PUSHER)
"""What they do depends on the folder of versions, of which their inputs say nothing."""


def create_pipeline(
    config: Config,
    *,
    pipeline_root: str,
    data_root: Parameter,
    span: int | None = None,
    push_destination: Parameter,
    served: str = "",
    beam_pipeline_args: Sequence[str],
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
    platform: Platform = "local",
    image: str = "",
) -> Pipeline:
    """Builds the TFX pipeline; no data is read.

    Args:
        config: the run's configuration, `auto` resolved.
        pipeline_root: where artifacts go.
        data_root: the folder of `span-N` folders of TFRecord shards.
        span: the number of the span to read; None is the newest, and then nothing else there may
            be named `span-...`.
        push_destination: the JSON of a PushDestination, from `data.contract.model`.
        served: the figures of photos that were served, from `data.served`; empty if none are named.
        beam_pipeline_args: those of every Beam node.
        metadata_connection_config: the MLMD store; None where the platform has its own.
        platform: what runs the pipeline; it decides how the last pushed model is found.
        image: the container image that custom training on Vertex AI runs.

    Raises:
        ComponentError: the weights cannot be read, or `unfreeze_layers` does not fit the backbone.
    """
    augmentation = config.training.augmentation
    if "auto" in (*config.model.backbones, config.model.weights, augmentation.mode):
        raise ValueError(f"`auto` must be resolved first: {config.model}, {augmentation}")
    data = _data_nodes(config, data_root, span, served, platform)
    baseline = _baseline(platform, push_destination)
    training = _training_nodes(config, data, baseline, image)
    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=pipeline_root,
        components=[
            *data.nodes,
            baseline,
            *training.nodes,
            *_gate_nodes(config, data, training, baseline, platform, push_destination),
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(beam_pipeline_args),
    )


@dataclass(frozen=True)
class _Data:
    """The nodes from the records to what a model can be trained on."""

    nodes: list[BaseNode]
    examples: BaseChannel
    statistics: BaseChannel
    transform_graph: BaseChannel


def _data_nodes(
    config: Config, data_root: Parameter, span: int | None, served: str, platform: Platform
) -> _Data:
    classes = list(config.classes)
    span_range = None
    if span is not None:
        # Looking for the newest, TFX takes whatever follows `span-` for a number, even `1.bak`.
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
    examples = example_gen.outputs["examples"]
    # By default every value passes through a shuffle to be counted, the photos' bytes among them.
    # The sketches take all long values for one, and are exact up to 1,024 different ones.
    statistics_gen = StatisticsGen(
        examples=examples,
        stats_options=tfdv.StatsOptions(use_sketch_based_topk_uniques=True),
    )
    statistics = statistics_gen.outputs["statistics"]
    curated = CuratedSchema(text=curated_schema(classes), code=code_hash("components.nodes.schema"))
    schema = curated.outputs["schema"]
    example_validator = ExampleValidator(statistics=statistics, schema=schema)
    drift = _drift_nodes(config, examples, statistics) if platform == "local" else []
    skew = _skew_nodes(config, statistics, served) if served else []
    data_gate = DataGate(
        examples=examples,
        statistics=statistics,
        anomalies=example_validator.outputs["anomalies"],
        **{
            kind: nodes[-1].outputs["anomalies"]
            for kind, nodes in ((DRIFT, drift), (SKEW, skew))
            if nodes
        },
        waivers=json.dumps([waiver.model_dump() for waiver in config.data_gate.waivers]),
        code=code_hash("components.nodes.data_gate"),
    )
    transform = Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="components.model.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[TRAIN], transform=list(SPLITS)),
        materialize=False,
        disable_statistics=True,
        custom_config={"classes": classes, "code": code_hash("components.model.preprocessing")},
    )
    # Nothing may be learnt from data that the DataGate has not let through.
    transform.add_upstream_node(data_gate)
    return _Data(
        nodes=[
            example_gen,
            statistics_gen,
            curated,
            example_validator,
            *drift,
            *skew,
            data_gate,
            transform,
        ],
        examples=examples,
        statistics=statistics,
        transform_graph=transform.outputs["transform_graph"],
    )


def _drift_nodes(config: Config, examples: BaseChannel, statistics: BaseChannel) -> list[BaseNode]:
    """The training photos against those of the newest earlier span that passed the data gate."""
    earlier = Resolver(
        strategy_class=EarlierSpanStrategy,
        current=examples,
        statistics=Channel(type=ExampleStatistics),
        verdict=Channel(type=ExampleAnomalies),
    ).with_id(EARLIER_STATISTICS)
    validator = DistributionValidator(
        statistics=statistics,
        baseline_statistics=earlier.outputs["statistics"],
        baseline_verdict=earlier.outputs["verdict"],
        compared=list(LIMIT_OF),
        limits=config.data_gate.limits,
        code=code_hash("components.nodes.distributions"),
    ).with_id(DRIFT_VALIDATOR)
    return [earlier, validator]


def _skew_nodes(config: Config, statistics: BaseChannel, served: str) -> list[BaseNode]:
    """The photos that were served against the training photos."""
    code = code_hash("components.nodes.distributions")
    counted = ServedStatistics(table=served, code=code)
    columns = served.partition("\n")[0].split(",")
    validator = DistributionValidator(
        statistics=counted.outputs["statistics"],
        baseline_statistics=statistics,
        pair=(SERVED, TRAIN),
        compared=[feature for feature in LIMIT_OF if feature in columns],
        limits=config.data_gate.limits,
        code=code,
    ).with_id(SKEW_VALIDATOR)
    return [counted, validator]


@dataclass(frozen=True)
class _Training:
    """The nodes that make a model, and what becomes of it on the platform."""

    nodes: list[BaseNode]
    model: BaseChannel
    model_run: BaseChannel
    activations: BaseChannel | None
    pusher_executor: type[BaseExecutor]
    serving_config: dict[str, Any] | None


def _training_nodes(config: Config, data: _Data, baseline: BaseNode, image: str) -> _Training:
    trainer_executor, training_config, pusher_executor, serving_config = _on_platform(config, image)
    names = config.model.backbones
    # Only the backbones that are built: an edit of another one must not make these nodes run again.
    backbones = [module_of(name) for name in names]
    weights_hashes = [weights_fingerprint(name, config.model.weights) for name in names]
    caches = []
    examples = data.examples
    if config.training.augmentation.mode == "cached":
        cache = ActivationCache(
            examples=data.examples,
            transform_graph=data.transform_graph,
            statistics=data.statistics,
            members=[
                Member(
                    backbone=name,
                    weights=config.model.weights,
                    weights_hash=weights_hash,
                    boundary_layer=boundary_layer_of(name, config.model.unfreeze_layers),
                    # Transform's code too: an earlier span's activations, which may be taken over,
                    # follow from it.
                    code=code_hash(
                        "components.nodes.activation_cache",
                        "components.model.preprocessing",
                        module,
                    ),
                )
                for name, module, weights_hash in zip(names, backbones, weights_hashes, strict=True)
            ],
            augmentation=config.training.augmentation.model_dump_json(exclude={"mode"}),
            classes=list(config.classes),
        )
        caches.append(cache)
        examples = cache.outputs["activations"]
    tuners = []
    if config.training.tune:
        tuners.append(
            Tuner(
                tuner_fn="components.nodes.tuner.tuner_fn",
                examples=examples,
                train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
                eval_args=trainer_pb2.EvalArgs(splits=[VAL]),
                custom_config={
                    "classes": list(config.classes),
                    "model": config.model.model_dump(),
                    "training": config.training.model_dump(),
                    "code": code_hash("components.nodes.tuner", *backbones),
                },
            )
        )
    trainer = Trainer(
        run_fn="components.nodes.trainer.run_fn",
        custom_executor_spec=ExecutorClassSpec(trainer_executor),
        examples=examples,
        transform_graph=data.transform_graph,
        train_args=trainer_pb2.TrainArgs(splits=[TRAIN]),
        base_model=baseline.outputs["model"] if config.training.warm_start else None,
        hyperparameters=tuners[0].outputs["best_hyperparameters"] if tuners else None,
        eval_args=trainer_pb2.EvalArgs(splits=[VAL]),
        custom_config={
            "classes": list(config.classes),
            "model": config.model.model_dump(),
            "training": config.training.model_dump(),
            "answers": config.answers.model_dump(),
            "weights_hashes": weights_hashes,
            "code": code_hash("components.nodes.trainer", *backbones),
            **training_config,
        },
    )
    curves = Curves(
        model_run=trainer.outputs["model_run"], code=code_hash("components.nodes.curves")
    )
    return _Training(
        nodes=[*caches, *tuners, trainer, curves],
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        activations=caches[0].outputs["activations"] if caches else None,
        pusher_executor=pusher_executor,
        serving_config=serving_config,
    )


def _gate_nodes(
    config: Config,
    data: _Data,
    training: _Training,
    baseline: BaseNode,
    platform: Platform,
    push_destination: Parameter,
) -> list[BaseNode]:
    """What a model passes on its way to being served."""
    servable_gate = ServableGate(
        model=training.model, code=code_hash("components.nodes.servable_gate")
    )
    best = _best(platform, push_destination)
    evaluator = Evaluator(
        examples=data.examples,
        model=training.model,
        # A blessing makes a model the baseline of the next one: it must be one that can be served.
        servable=servable_gate.outputs["servable"],
        baseline_model=baseline.outputs["model"],
        best_models=best.outputs["model"] if best else None,
        best_pushes=best.outputs["pushed_model"] if isinstance(best, Resolver) else None,
        classes=config.classes,
        gate=config.gate,
        code=code_hash("components.nodes.evaluator"),
    )
    pusher = Pusher(
        custom_executor_spec=ExecutorClassSpec(training.pusher_executor),
        model=training.model,
        model_blessing=evaluator.outputs["blessing"],
        push_destination=_as_message(push_destination),
        custom_config=training.serving_config,
    )
    report = _report(config, data, training, evaluator.outputs["evaluation"])
    return [servable_gate, *([best] if best else []), evaluator, report, pusher]


def _report(config: Config, data: _Data, training: _Training, evaluation: BaseChannel) -> BaseNode:
    """What was measured, for people."""
    optional = {"activations": training.activations} if training.activations else {}
    return Report(
        evaluation=evaluation,
        model_run=training.model_run,
        examples=data.examples,
        statistics=data.statistics,
        **optional,
        settings=config.model_dump_json(),
        look=look(),
        code=code_hash("components.nodes.report", module_of(config.model.backbones[0])),
    )


def _as_message(push_destination: Parameter) -> pusher_pb2.PushDestination | RuntimeParameter:
    """A PushDestination in the form that TFX's Pusher takes."""
    if isinstance(push_destination, RuntimeParameter):
        return push_destination
    message = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(push_destination, message)
    return message


def _baseline(platform: Platform, push_destination: Parameter) -> BaseNode:
    """The node that finds the model that was pushed last, in a way that the platform supports."""
    if platform == "kubeflow":
        return LatestPushedModel(push_destination=push_destination)
    if platform == "vertex":  # it knows TFX's strategies only
        return Resolver(
            strategy_class=LatestBlessedModelStrategy,
            model=Channel(type=Model),
            model_blessing=Channel(type=ModelBlessing),
        ).with_id(LATEST_BLESSED_MODEL)
    return Resolver(
        strategy_class=LastPushedStrategy,
        model=Channel(type=Model),
        pushed_model=Channel(type=PushedModel),
    ).with_id(LAST_PUSHED_MODEL)


def _best(platform: Platform, push_destination: Parameter) -> BaseNode | None:
    """The node that finds the best of the models that were pushed before; Vertex AI has none."""
    if platform == "kubeflow":
        return BestPushedModel(push_destination=push_destination)
    if platform == "vertex":
        return None
    return Resolver(
        strategy_class=BestPushedStrategy,
        model=Channel(type=Model),
        pushed_model=Channel(type=PushedModel),
        evaluation=Channel(type=ModelEvaluation),
    ).with_id(BEST_PUSHED_MODEL)


def _on_platform(
    config: Config, image: str
) -> tuple[type[BaseExecutor], dict[str, Any], type[BaseExecutor], dict[str, Any] | None]:
    """The executors of Trainer and Pusher, each with the further configuration that it needs."""
    settings = config.vertex
    if settings is None:
        return TrainerExecutor, {}, PusherExecutor, None
    from components.nodes import vertex  # takes 15 seconds of CPU

    where = {"project": settings.project, "region": settings.region}
    resources = config.resources.get(TRAINER, Resources())
    return (
        vertex.VertexTrainerExecutor,
        vertex.training_config(
            **where,
            image=image,
            machine=settings.training_machine,
            gpu=resources.gpu,
            gpu_type=resources.gpu_type,
            replicas=settings.training_replicas,
        ),
        vertex.VertexPusherExecutor,
        vertex.serving_config(
            **where,
            endpoint=settings.endpoint,
            machine=settings.serving_machine,
            image=settings.serving_image,
        ),
    )
