"""The Trainer node: a thin wrapper that joins Transform's graph, the training and the export."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx import types
from tfx.components.trainer.executor import GenericExecutor
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.types import standard_component_specs

from components.augmentation import augmentation
from components.checkpoint import committed_epochs
from components.classifier import build_classifier
from components.curves import curves_figure, write_history
from components.dataset import balanced_class_weights, label_counts, labelled_images
from components.export import export
from components.settings import ModelSettings, TrainingSettings
from components.training import Splits, best_phase, train_in_phases

SUMMARY = "training.json"
CURVES = "curves.png"
HISTORY = "history.csv"


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports the classifier (the user function of TFX's Trainer).

    `custom_config` holds `classes`, `model` and `training` (the sections of
    `components.settings` as JSON). Leaves the curves, the history, the TensorBoard logs and a
    summary in the ModelRun artifact.

    Raises:
        ComponentError: the backbone's weights cannot be had.
    """
    config = fn_args.custom_config
    classes: list[str] = config["classes"]
    model_settings = ModelSettings.model_validate_json(json.dumps(config["model"]))
    settings = TrainingSettings.model_validate_json(json.dumps(config["training"]))
    folder = _resume_folder(fn_args)
    # After a kill the random numbers must not start again, or the model would see the very
    # augmentations and dropout masks that it has already learnt.
    seed = settings.seed + committed_epochs(folder)
    keras.utils.set_random_seed(seed)

    (train_files,) = fn_args.train_files
    val_files, test_files = fn_args.eval_files
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    augment = augmentation(settings.augmentation, seed)
    train = labelled_images(
        train_files, transform, batch_size=settings.batch_size, shuffle_seed=seed
    ).map(lambda images, labels: (augment(images), labels), num_parallel_calls=tf.data.AUTOTUNE)
    val, test = (
        labelled_images(files, transform, batch_size=settings.batch_size)
        for files in (val_files, test_files)
    )
    counts = label_counts(train_files)
    model, backbone, origin = build_classifier(model_settings, len(classes))
    phases = train_in_phases(
        model,
        backbone,
        model_settings,
        settings,
        splits=Splits(*(split.prefetch(tf.data.AUTOTUNE) for split in (train, val, test))),
        class_weights=balanced_class_weights(counts, classes),
        folder=folder,
    )

    run_dir = Path(fn_args.model_run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    curves_figure(phases).savefig(run_dir / CURVES, dpi=120)
    write_history(phases, run_dir / HISTORY)
    shutil.copytree(folder / "tensorboard", run_dir / "tensorboard", dirs_exist_ok=True)
    summary = {
        "backbone": model_settings.backbone,
        "weights": dataclasses.asdict(origin),
        "train_photos": {name: counts[name] for name in classes},
        "phases": [
            {
                "name": phase.name,
                "epochs": len(phase.history),
                "best_epoch": phase.history.index(phase.best) + 1,
                "train": {key: phase.best[key] for key in ("accuracy", "loss")},
                "val": {key: phase.best[f"val_{key}"] for key in ("accuracy", "loss")},
                "test": phase.test,
            }
            for phase in phases
        ],
        "exported_phase": best_phase(phases).name,
    }
    (run_dir / SUMMARY).write_text(json.dumps(summary, indent=2))
    export(model, transform, classes, Path(fn_args.serving_model_dir))
    shutil.rmtree(folder)


def _resume_folder(fn_args: FnArgs) -> Path:
    """The folder of this training's epochs, the same again after a kill.

    It lies beside the ModelRun artifacts, outside of each, because a rerun gets a new artifact,
    and is named by all that the training depends on.
    """
    inputs = [fn_args.custom_config, fn_args.train_files, fn_args.transform_graph_path]
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    return Path(fn_args.model_run_dir).parent / "unfinished" / key


class TrainerExecutor(GenericExecutor):
    """TFX's executor, which also says on the Model artifact where the weights come from."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        (model,) = output_dict[standard_component_specs.MODEL_KEY]
        (run,) = output_dict[standard_component_specs.MODEL_RUN_KEY]
        summary = json.loads((Path(run.uri) / SUMMARY).read_text())
        model.set_string_custom_property("backbone", summary["backbone"])
        model.set_string_custom_property("weights_source", summary["weights"]["source"])
        model.set_string_custom_property("weights_sha256", summary["weights"]["sha256"])
