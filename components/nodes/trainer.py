"""The Trainer node: a thin wrapper that joins Transform's graph, the training and the export."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
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
from components.training.answering import Trained, settle
from components.training.cache.format import folder_of
from components.training.checkpoint import committed_epochs, remove
from components.training.history import HISTORY, SUMMARY, PhaseHistory, write_history
from components.training.phases import Phase, train_in_phases
from components.training.photo_batches import balanced_class_weights
from components.training.recipes import FROZEN, Recipe
from components.training.settings import TrainingSettings
from components.training.warm_start import FORMAT, Origin, keep_weights, take_weights
from data.contract.features import TRAIN, VAL


@dataclass(frozen=True)
class _Order:
    """What `custom_config` asks for."""

    classes: list[str]
    model: ModelSettings
    training: TrainingSettings
    answers: AnswerSettings
    weights_hashes: list[str]
    """Of each backbone."""

    @property
    def origin(self) -> Origin:
        """Of the first backbone's classifier."""
        return Origin(
            backbone=self.model.backbones[0],
            weights_hash=self.weights_hashes[0],
            unfreeze_layers=self.model.unfreeze_layers,
            classes=self.classes,
        )

    @classmethod
    def of(cls, config: dict[str, Any]) -> Self:
        return cls(
            classes=config["classes"],
            model=ModelSettings.model_validate_json(json.dumps(config["model"])),
            training=TrainingSettings.model_validate_json(json.dumps(config["training"])),
            answers=AnswerSettings.model_validate_json(json.dumps(config["answers"])),
            weights_hashes=config["weights_hashes"],
        )


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports the classifier (the user function of TFX's Trainer).

    The examples are those of the pipeline, or ActivationCache's if the augmentation is `cached`.
    `custom_config` holds `classes`, `model`, `training` and `answers` (ModelSettings,
    TrainingSettings and AnswerSettings as JSON, `auto` resolved) and `weights_hashes`, the
    `weights_fingerprint` of each backbone.
    Leaves the history, the TensorBoard logs and a summary in the ModelRun artifact.

    Raises:
        ComponentError: the backbone's weights are not available or have changed, or the cache
            does not fit.
    """
    order = _Order.of(fn_args.custom_config)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    with _training_folder(fn_args) as folder:
        members = {
            label: _train(order, member, fn_args, transform, folder / label)
            for label, member in zip(_labels(order.model), order.model.members, strict=True)
        }
        models, answers = settle(list(members.values()), order.answers, weights=order.model.weights)
        print(answers.as_text(), flush=True)
        with writable(fn_args.model_run_dir) as run_dir:
            run_dir.mkdir(parents=True, exist_ok=True)
            write_history(_labelled_phases(members), run_dir / HISTORY)
            for label in members:
                logs = Path("tensorboard", label)
                shutil.copytree(folder / label / "tensorboard", run_dir / logs, dirs_exist_ok=True)
            summary = json.dumps(_summary(order, members, answers), indent=2)
            (run_dir / SUMMARY).write_text(summary)
        with writable(fn_args.serving_model_dir) as model_dir:
            export(models, answers, transform, order.classes, model_dir)
        if len(members) == 1:
            (only,) = members.values()
            with writable(_keras_folder(fn_args.serving_model_dir)) as weights_dir:
                keep_weights(only.recipe.classifier.model, order.origin, weights_dir)


def _labels(model: ModelSettings) -> list[str]:
    """What tells the members of an ensemble from each other; the only backbone needs no name."""
    return list(model.backbones) if len(model.backbones) > 1 else [""]


def _train(
    order: _Order,
    member: ModelSettings,
    fn_args: FnArgs,
    transform: tft.TFTransformOutput,
    folder: Path,
) -> Trained:
    """Trains the classifier of one backbone.

    Args:
        order: the settings.
        member: those of the backbone.
        fn_args: where the examples are.
        transform: the Transform graph.
        folder: of its epochs.
    """
    if len(order.model.backbones) > 1:
        print(f"  {folder.name}:", flush=True)
    recipe = _recipe(order, member, fn_args, transform, epochs=committed_epochs(folder))
    phases = train_in_phases(
        recipe.classifier.model,
        _warmed_up(recipe, order, fn_args.base_model),
        class_weights=balanced_class_weights(recipe.label_counts, order.classes),
        label_smoothing=order.training.label_smoothing,
        patience=order.training.patience,
        folder=folder,
    )
    return Trained(recipe, phases)


def _recipe(
    order: _Order,
    member: ModelSettings,
    fn_args: FnArgs,
    transform: tft.TFTransformOutput,
    *,
    epochs: int,
) -> Recipe:
    """What is trained on what.

    Args:
        order: the settings.
        member: those of the backbone.
        fn_args: where the examples are.
        transform: the Transform graph.
        epochs: how many were finished before a kill.
    """
    # After a kill the random numbers must not start over, or the model would see the very
    # augmentations and dropout masks that it has already learnt from.
    seed = order.training.seed + epochs
    keras.utils.set_random_seed(seed)
    (train_files,) = fn_args.train_files
    (backbone,) = member.backbones
    if order.training.augmentation.mode == "cached":
        return recipes.cached(
            member,
            order.training,
            order.classes,
            activations=folder_of(train_files.rsplit("/", 2)[0], backbone, order.model.backbones),
            seed=seed,
            first_epoch=epochs,
        )
    wanted = order.weights_hashes[order.model.backbones.index(backbone)]
    require_same_weights(backbone, member.weights, wanted)
    files = dict(zip((TRAIN, VAL), (train_files, *fn_args.eval_files), strict=True))
    return recipes.on_the_fly(
        member, order.training, order.classes, files=files, transform=transform, seed=seed
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


def _labelled_phases(members: Mapping[str, Trained]) -> list[PhaseHistory]:
    """The phases of all members, each with its member's label before its name."""
    return [
        dataclasses.replace(phase, name=f"{label} {phase.name}".strip())
        for label, member in members.items()
        for phase in member.phases
    ]


def _summary(order: _Order, members: Mapping[str, Trained], answers: Answers) -> dict[str, Any]:
    """The figures of a training as JSON values."""
    recipes = [member.recipe for member in members.values()]
    origins = [recipe.origin for recipe in recipes]
    return {
        "backbone": " + ".join(order.model.backbones),
        "weights": {
            "source": " + ".join(origin.source for origin in origins),
            "sha256": " + ".join(origin.sha256 for origin in origins),
        },
        "train_photos": {name: recipes[0].label_counts[name] for name in order.classes},
        "phases": [
            {
                "name": phase.name,
                "epochs": len(phase.history),
                "best_epoch": phase.kept + 1,
                "train": {key: phase.best[key] for key in ("accuracy", "loss")},
                "val": {key: phase.best[f"val_{key}"] for key in ("accuracy", "loss")},
            }
            for phase in _labelled_phases(members)
        ],
        "exported_phase": " + ".join(
            f"{label} {member.kept}".strip() for label, member in members.items()
        ),
        "answers": answers.as_json(),
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
