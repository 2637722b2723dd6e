"""The Trainer node: a thin wrapper that joins Transform's graph, the training and the export."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import keras
import tensorflow_transform as tft
from tfx import types
from tfx.components.trainer.executor import GenericExecutor
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.types import standard_component_specs
from tfx.utils import io_utils

from components.model.answers import Answers
from components.model.export import export
from components.model.settings import AnswerSettings, ModelSettings
from components.model.weights import require_same_weights
from components.staging import is_remote, readable, writable
from components.training import recipes
from components.training.answering import settle
from components.training.checkpoint import committed_epochs, remove
from components.training.history import HISTORY, SUMMARY, PhaseHistory, write_history
from components.training.hyperparameters import Values, as_text, current_values, read_values
from components.training.phases import Phase, best_phase, refit_in_phases, train_in_phases
from components.training.photo_batches import balanced_class_weights
from components.training.recipes import FROZEN, UNFROZEN, Recipe
from components.training.settings import TrainingSettings
from components.training.tuned_settings import tuned_settings
from components.training.warm_start import FORMAT, Origin, keep_weights, take_weights
from data.contract.features import TRAIN, VAL


@dataclass(frozen=True)
class _Order:
    """What `custom_config` asks for, and a tuner's hyper-parameters."""

    classes: list[str]
    model: ModelSettings
    training: TrainingSettings
    answers: AnswerSettings
    weights_hash: str
    tuned: Values
    """The hyper-parameters that a tuner found, which are among the settings already."""

    @property
    def origin(self) -> Origin:
        return Origin(
            backbone=self.model.backbone,
            weights_hash=self.weights_hash,
            unfreeze_layers=self.model.unfreeze_layers,
            classes=self.classes,
        )

    @classmethod
    def of(cls, config: dict[str, Any], hyperparameters: dict[str, Any] | None) -> Self:
        tuned = {} if hyperparameters is None else read_values(hyperparameters)
        model, training = tuned_settings(config, tuned)
        return cls(
            classes=config["classes"],
            model=model,
            training=training,
            answers=AnswerSettings.model_validate_json(json.dumps(config["answers"])),
            weights_hash=config["weights_hash"],
            tuned=tuned,
        )


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports the classifier (the user function of TFX's Trainer).

    The examples are those of the pipeline, or ActivationCache's if the augmentation is `cached`.
    `custom_config` holds `classes`, `model`, `training` and `answers` (ModelSettings,
    TrainingSettings and AnswerSettings as JSON, `auto` resolved) and `weights_hash`, the
    `weights_fingerprint`. A tuner's hyper-parameters, if there are any, are laid over the settings.
    Leaves the history, the TensorBoard logs and a summary in the ModelRun artifact.

    Raises:
        ComponentError: the backbone's weights are not available or have changed, the cache does
            not fit, or a hyper-parameter is not one that can be.
    """
    order = _Order.of(fn_args.custom_config, fn_args.hyperparameters)
    if order.tuned:
        before = current_values(fn_args.custom_config)
        print(f"  tuned: {as_text(order.tuned, before)}", flush=True)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    with _training_folder(fn_args) as folder:
        recipe = _recipe(order, fn_args, transform, epochs=committed_epochs(folder))
        class_weights = balanced_class_weights(recipe.label_counts, order.classes)
        phases = train_in_phases(
            recipe.classifier.model,
            _warmed_up(recipe, order, fn_args.base_model),
            class_weights=class_weights,
            label_smoothing=order.training.label_smoothing,
            patience=order.training.patience,
            folder=folder,
        )
        model, answers = settle(
            recipe,
            order.answers,
            weights=order.model.weights,
            tail_is_trained=best_phase(phases).name == UNFROZEN,
        )
        print(answers.as_text(), flush=True)
        trained = recipe.classifier
        if order.training.refit:
            again = _recipe(order, fn_args, transform, epochs=committed_epochs(folder), refit=True)
            print("  refit: on the training and the validation photos together", flush=True)
            refit_in_phases(
                _warmed_up(again, order, fn_args.base_model),
                phases,
                class_weights=class_weights,
                label_smoothing=order.training.label_smoothing,
                folder=folder,
            )
            trained = again.classifier
            model = model.with_weights_of(trained, recipe.boundary_layer)
        with writable(fn_args.model_run_dir) as run_dir:
            run_dir.mkdir(parents=True, exist_ok=True)
            write_history(phases, run_dir / HISTORY)
            shutil.copytree(folder / "tensorboard", run_dir / "tensorboard", dirs_exist_ok=True)
            summary = json.dumps(_summary(order, recipe, phases, answers), indent=2)
            (run_dir / SUMMARY).write_text(summary)
        with writable(fn_args.serving_model_dir) as model_dir:
            export(model, answers, transform, order.classes, model_dir)
        with writable(_keras_folder(fn_args.serving_model_dir)) as weights_dir:
            keep_weights(trained.model, order.origin, weights_dir)


def _recipe(
    order: _Order,
    fn_args: FnArgs,
    transform: tft.TFTransformOutput,
    *,
    epochs: int,
    refit: bool = False,
) -> Recipe:
    """What is trained on what.

    Args:
        order: the settings.
        fn_args: where the examples are.
        transform: the Transform graph.
        epochs: how many were finished before a kill.
        refit: whether the validation photos are trained on as well.
    """
    # After a kill the random numbers must not start over, or the model would see the very
    # augmentations and dropout masks that it has already learnt from.
    seed = order.training.seed + epochs
    keras.utils.set_random_seed(seed)
    (train_files,) = fn_args.train_files
    if order.training.augmentation.mode == "cached":
        return recipes.cached(
            order.model,
            order.training,
            order.classes,
            activations=train_files.rsplit("/", 2)[0],
            seed=seed,
            first_epoch=epochs,
            with_val=refit,
        )
    require_same_weights(order.model.backbone, order.model.weights, order.weights_hash)
    files = dict(zip((TRAIN, VAL), (train_files, *fn_args.eval_files), strict=True))
    return recipes.on_the_fly(
        order.model,
        order.training,
        order.classes,
        files=files,
        transform=transform,
        seed=seed,
        with_val=refit,
    )


def _warmed_up(recipe: Recipe, order: _Order, base_model: str | None) -> list[Phase]:
    """The phases to train, once the classifier has the weights to go on from, if any.

    Args:
        recipe: untrained.
        order: the settings.
        base_model: the export of the model that was pushed last; None where there is none.

    Raises:
        ComponentError: that model does not fit.
    """
    if not order.training.warm_start:
        return recipe.phases
    if base_model is None:
        print("  warm start: nothing was pushed yet, so there is nothing to go on from", flush=True)
        return recipe.phases
    with readable(_keras_folder(base_model)) as folder:
        take_weights(recipe.classifier.model, order.origin, folder)
    print("  warm start: going on from the model that was pushed last", flush=True)
    return [phase for phase in recipe.phases if phase.name != FROZEN]


def _keras_folder(serving_model_dir: str) -> str:
    """Where a Model artifact keeps what a later training may go on from."""
    return f"{serving_model_dir.rpartition('/')[0]}/{FORMAT}"


def _summary(
    order: _Order, recipe: Recipe, phases: Sequence[PhaseHistory], answers: Answers
) -> dict[str, Any]:
    """The figures of a training as JSON values."""
    return {
        "backbone": order.model.backbone,
        "weights": dataclasses.asdict(recipe.origin),
        "train_photos": {name: recipe.label_counts[name] for name in order.classes},
        "phases": [
            {
                "name": phase.name,
                "epochs": len(phase.history),
                "best_epoch": phase.kept + 1,
                "train": {key: phase.best[key] for key in ("accuracy", "loss")},
                "val": {key: phase.best[f"val_{key}"] for key in ("accuracy", "loss")},
            }
            for phase in phases
        ],
        "exported_phase": best_phase(phases).name,
        "answers": answers.as_json(),
        **({"tuned": order.tuned} if order.tuned else {}),
    }


@contextmanager
def _training_folder(fn_args: FnArgs) -> Iterator[Path]:
    """The folder of this training's epochs, which is found again after a kill; gone at the end.

    It lies beside the ModelRun artifacts and outside of each, because a rerun gets a new artifact,
    and is named after all that the training depends on. Where they are remote it is temporary: a
    training that is killed there starts over.
    """
    if is_remote(fn_args.model_run_dir):
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    inputs = [
        fn_args.custom_config,
        fn_args.train_files,
        fn_args.transform_graph_path,
        fn_args.base_model,
        fn_args.hyperparameters,
    ]
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(fn_args.model_run_dir).parent / "unfinished" / key
    yield folder
    remove(folder)


class TrainerExecutor(GenericExecutor):
    """TFX's executor, which also records on the Model artifact where the weights come from."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        name_weights(output_dict)


def name_weights(output_dict: dict[str, list[types.Artifact]]) -> None:
    """Records on the Model artifact of a training where its weights come from."""
    (model,) = output_dict[standard_component_specs.MODEL_KEY]
    (run,) = output_dict[standard_component_specs.MODEL_RUN_KEY]
    summary = json.loads(io_utils.read_string_file(f"{run.uri}/{SUMMARY}"))
    model.set_string_custom_property("backbone", summary["backbone"])
    model.set_string_custom_property("weights_source", summary["weights"]["source"])
    model.set_string_custom_property("weights_sha256", summary["weights"]["sha256"])
