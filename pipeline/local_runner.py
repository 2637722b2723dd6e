"""A run on this machine: photos, then the pipeline on LocalDagRunner, then its summary."""

import logging
import os
import warnings
from datetime import datetime
from pathlib import Path

import tensorflow as tf
from absl import logging as absl_logging
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler.constants import PIPELINE_RUN_ID_PARAMETER_NAME
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config
from tfx.orchestration.portable.runtime_parameter_utils import substitute_runtime_parameter
from tfx.proto.orchestration import pipeline_pb2

from components.model.auto import resolve_settings
from data.contract.model import push_destination
from data.contract.progress import tenths
from data.drawn_dogs import draw_dataset
from data.folder import list_photos
from data.ingest import ingest
from data.served import tabulate
from pipeline import artifacts
from pipeline.beam_args import beam_args
from pipeline.config import Config, ConfigError
from pipeline.lineage.by_span import accuracy_by_span
from pipeline.lineage.recording import describe_run
from pipeline.live_line import LiveLine
from pipeline.outputs import newest_run, read_outputs
from pipeline.pipeline import UNCACHED, create_pipeline
from pipeline.progress import NodeTimes, describe_alike, describe_records, describe_remarks
from pipeline.summary import Summary, as_metrics, copy_curves, report_page, summarize
from pipeline.workdir import Workdir


def run_locally(
    config: Config, workdir: Workdir, photos: Path | None, line: LiveLine | None = None
) -> Summary:
    """Runs everything, from a folder of photos to a pushed model or the gate's verdict.

    Args:
        config: the configuration; `auto` and the classes are filled in here.
        workdir: where everything goes; the caller holds its lock.
        photos: class folders or a CSV file; None draws the demo's.
        line: shows how far it is, if there is a terminal for it.

    Returns:
        The figures, which are also stored in the folder.

    Raises:
        ConfigError: the folder belongs to other classes.
        ComponentError: a node cannot go on.
        DataError: the photos cannot be used.
        WorkdirError: what earlier runs have left in the folder is not whole.
    """
    # Beam makes an argument parser for every transform, which looks for translations on the disk.
    os.environ["LANGUAGE"] = "C"
    artifacts.require_unchanged(workdir)
    stored = workdir.stored_config()
    arguments = beam_args(config.beam, root=str(workdir.root))
    served = tabulate(Path(config.data_gate.served)) if config.data_gate.served else ""
    config = _resolve_backbone(config, stored).with_augmentation_mode(
        gpu=bool(tf.config.list_physical_devices("GPU"))
    )
    if photos is None:
        photos = workdir.drawn_photos
        draw_dataset(photos, per_class=config.demo.photos_per_class, seed=0)
        print(f"photos    drawn dog faces, not photographs: {photos}", flush=True)
    # Before anything is written: photos of other classes must not become the newest records.
    listed = list_photos(photos, config.data.settled_seconds)
    found = tuple(sorted({photo.label for photo in listed}))
    config = _fill_classes(config, found, stored)
    ingested = ingest(
        photos,
        workdir.data,
        last_spans=config.data.window,
        decisions=config.data.relabels,
        max_reject_share=config.data.max_reject_share,
        settled_seconds=config.data.settled_seconds,
        progress=tenths("photos    read"),
        beam_options=arguments,
    )
    print(f"records   {describe_records(ingested)}", flush=True)
    for remark in describe_remarks(ingested):
        print(f"records   {remark}", flush=True)
    print(f"alike     {describe_alike(ingested)}", flush=True)
    print(f"span      {ingested.span}: nothing else is read", flush=True)
    workdir.store_config(config)

    connection = sqlite_metadata_connection_config(str(workdir.metadata))
    pipeline = create_pipeline(
        config,
        pipeline_root=str(workdir.pipeline_root),
        data_root=str(workdir.data),
        span=ingested.span,
        push_destination=push_destination(str(workdir.serving)),
        served=served,
        beam_pipeline_args=arguments,
        metadata_connection_config=connection,
    )
    times = NodeTimes(total=len(pipeline.components), line=line)
    # Not the logger's own level: when it saves a model, TensorFlow resets that to this one.
    absl_logging.set_verbosity(absl_logging.INFO)
    absl = logging.getLogger("absl")
    absl.addHandler(times)
    try:
        _Runner(ingested.span_dir, connection).run(pipeline)
    finally:
        absl.removeHandler(times)
        times.close()
        artifacts.remember(workdir)
    with Metadata(connection) as metadata:
        outputs = read_outputs(metadata.store, newest_run(metadata.store))
        by_span = accuracy_by_span(metadata.store)
    summary = summarize(outputs, times, config.classes)
    copy_curves(outputs, workdir.curves)
    if summary.tuned is not None:
        workdir.store_tuned(summary.tuned)
    workdir.store_report(report_page(outputs, summary, ingested, by_span))
    workdir.store_metrics(as_metrics(summary))
    return summary


class _Runner(LocalDagRunner):
    """TFX's runner, which also knows which span a run reads, and of nodes that are never taken from
    the cache."""

    def __init__(self, span: Path, connection: metadata_store_pb2.ConnectionConfig) -> None:
        super().__init__()
        self._span, self._connection = span, connection

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: pipeline_pb2.RunOptions | None = None,
    ) -> None:
        for each in pipeline.nodes:
            if each.pipeline_node.node_info.id in UNCACHED:
                each.pipeline_node.execution_options.caching_options.enable_cache = False
        # TFX would choose the same, but then it begins at once.
        run_id = {PIPELINE_RUN_ID_PARAMETER_NAME: datetime.now().isoformat()}
        with warnings.catch_warnings():
            # Protobuf deprecates what TFX asks of it here, and blames the caller.
            warnings.simplefilter("ignore", DeprecationWarning)
            substitute_runtime_parameter(pipeline, run_id)
        with Metadata(self._connection) as metadata:
            describe_run(metadata, pipeline.nodes[0].pipeline_node.contexts, self._span)
        super().run_with_ir(pipeline, run_options)


def _resolve_backbone(config: Config, stored: Config | None) -> Config:
    """Replaces `auto`: by what the folder's last run took, else by what is available."""
    wanted = config.model
    before = stored.model if stored is not None else None
    if before and _fits(wanted.backbone, before.backbone) and _fits(wanted.weights, before.weights):
        chosen = {"backbone": before.backbone, "weights": before.weights}
        model, reason = wanted.model_copy(update=chosen), "as in the run before"
    else:
        model, reason = resolve_settings(wanted)
    backbones = " + ".join(model.backbones)
    print(f"backbone  {backbones}, weights {model.weights} ({reason})", flush=True)
    return config.with_model(model)


def _fits(wanted: str | tuple[str, ...], stored: str | tuple[str, ...]) -> bool:
    return wanted in ("auto", stored)


def _fill_classes(config: Config, found: tuple[str, ...], stored: Config | None) -> Config:
    """Takes the class names from the photos; classes set by the user give the order of the ids."""
    if "classes" not in config.model_fields_set:
        config = config.model_copy(update={"classes": found})
    elif sorted(config.classes) != sorted(found):
        raise ConfigError(
            f"classes = {', '.join(config.classes)}: the photos are of {', '.join(found)}; "
            "leave classes out or name the same ones"
        )
    if stored is not None and stored.classes != config.classes:
        raise ConfigError(
            f"the workdir belongs to the classes {', '.join(stored.classes)}, but this run has "
            f"{', '.join(config.classes)}; name another --workdir"
        )
    return config
