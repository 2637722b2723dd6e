"""The Trainer node: a thin wrapper that joins Transform's graph, the training and the export."""

import dataclasses
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow_transform as tft
from numpy.typing import NDArray
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
from components.training.distillation import soft_targets
from components.training.history import HISTORY, SUMMARY, PhaseHistory, write_history
from components.training.hyperparameters import Values, as_text, current_values, read_values
from components.training.machines import cluster, is_chief, strategy, wait_for_all
from components.training.phases import Phase, refit_in_phases, train_in_phases
from components.training.photo_batches import balanced_class_weights
from components.training.recipes import FROZEN, Recipe
from components.training.settings import TrainingSettings
from components.training.tuned_settings import tuned_settings
from components.training.warm_start import FORMAT, Origin, keep_weights, take_weights
from data.contract.features import TRAIN, VAL

STUDENT = "student"
"""What the phases of a classifier that an ensemble has taught begin with."""


@dataclass(frozen=True)
class _Order:
    """What `custom_config` asks for, and a tuner's hyper-parameters."""

    classes: list[str]
    model: ModelSettings
    training: TrainingSettings
    answers: AnswerSettings
    weights_hashes: list[str]
    """Of each backbone."""
    tuned: Values
    """The hyper-parameters that a tuner found, which are among the settings already."""

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
    def of(cls, config: dict[str, Any], hyperparameters: dict[str, Any] | None) -> Self:
        tuned = {} if hyperparameters is None else read_values(hyperparameters)
        model, training = tuned_settings(config, tuned)
        return cls(
            classes=config["classes"],
            model=model,
            training=training,
            answers=AnswerSettings.model_validate_json(json.dumps(config["answers"])),
            weights_hashes=config["weights_hashes"],
            tuned=tuned,
        )


def run_fn(fn_args: FnArgs) -> None:
    """Trains and exports the classifier (the user function of TFX's Trainer).

    The examples are those of the pipeline, or ActivationCache's if the augmentation is `cached`.
    `custom_config` holds `classes`, `model`, `training` and `answers` (ModelSettings,
    TrainingSettings and AnswerSettings as JSON, `auto` resolved) and `weights_hashes`, the
    `weights_fingerprint` of each backbone. A tuner's hyper-parameters, if there are any, are laid
    over the settings. Where TF_CONFIG names several machines, each runs this and one writes.
    Leaves the history, the TensorBoard logs and a summary in the ModelRun artifact.

    Raises:
        ComponentError: the backbone's weights are not available or have changed, the cache does
            not fit, a hyper-parameter is not one that can be, or another machine is gone.
    """
    strategy()  # first of all: the machines of a cluster cannot be joined later
    order = _Order.of(fn_args.custom_config, fn_args.hyperparameters)
    if order.tuned:
        before = current_values(fn_args.custom_config)
        print(f"  tuned: {as_text(order.tuned, before)}", flush=True)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    with _training_folder(fn_args) as folder:
        trainings = {
            label: _Training(order, member, fn_args, transform, folder / label)
            for label, member in zip(
                _labels(order.model.backbones), order.model.members, strict=True
            )
        }
        members = {label: training.train() for label, training in trainings.items()}
        models, answers = settle(list(members.values()), order.answers, weights=order.model.weights)
        exported = members
        if order.training.distill:
            print(f"  the ensemble, which teaches:\n{answers.as_text()}", flush=True)
            student = dataclasses.replace(
                next(iter(trainings.values())),
                folder=folder / STUDENT,
                targets=soft_targets(list(members.values()), models, answers.temperature),
            )
            trainings, exported = {STUDENT: student}, {STUDENT: student.train()}
            models, answers = settle(
                list(exported.values()), order.answers, weights=order.model.weights
            )
        print(answers.as_text(), flush=True)
        if order.training.refit:
            again = [trainings[label].refit(each) for label, each in exported.items()]
            models = [
                model.with_weights_of(recipe.classifier, recipe.boundary_layer)
                for model, recipe in zip(models, again, strict=True)
            ]
        if is_chief():
            trained = members | exported
            _leave_run(fn_args, folder, trained, _summary(order, trained, exported, answers))
            with writable(fn_args.serving_model_dir) as model_dir:
                export(models, answers, transform, order.classes, model_dir)
            if len(exported) == 1:
                # Of before a refit: a later training's validation photos must be unknown to them.
                (kept,) = exported.values()
                with writable(_keras_folder(fn_args.serving_model_dir)) as weights_dir:
                    keep_weights(kept.recipe.classifier.model, order.origin, weights_dir)
    wait_for_all()  # TFX looks for the model, on every machine


def _leave_run(
    fn_args: FnArgs, folder: Path, trained: Mapping[str, Trained], summary: dict[str, Any]
) -> None:
    """Writes the ModelRun artifact: the history, the logs of the epochs and the summary."""
    with writable(fn_args.model_run_dir) as run_dir:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_history(_labelled_phases(trained), run_dir / HISTORY)
        for label in trained:
            logs = folder / label / "tensorboard"
            if logs.is_dir():  # what is solved has none
                shutil.copytree(logs, run_dir / "tensorboard" / label, dirs_exist_ok=True)
        (run_dir / SUMMARY).write_text(json.dumps(summary, indent=2))


def _labels(backbones: Sequence[str]) -> list[str]:
    """What tells the members of an ensemble from each other: their names, without the family's if
    they are all of one. The only backbone needs no name."""
    if len(backbones) == 1:
        return [""]
    of_one = len({name.partition("_")[0] for name in backbones}) == 1
    return [name.partition("_")[2] if of_one else name for name in backbones]


@dataclass(frozen=True)
class _Training:
    """The training of the classifier of one backbone."""

    order: _Order
    model: ModelSettings
    """Of the backbone."""
    fn_args: FnArgs
    """Where the examples are."""
    transform: tft.TFTransformOutput
    folder: Path
    """Of its epochs."""
    targets: NDArray[np.float32] | None = None
    """What it is taught in place of the labels."""

    def train(self) -> Trained:
        """Runs the phases."""
        self._announce()
        recipe = self._recipe(refit=False)
        phases = train_in_phases(
            recipe.classifier.model,
            self._warmed_up(recipe),
            class_weights=balanced_class_weights(recipe.label_counts, self.order.classes),
            label_smoothing=self.order.training.label_smoothing,
            patience=self.order.training.patience,
            folder=self.folder,
        )
        return Trained(recipe, phases)

    def refit(self, trained: Trained) -> Recipe:
        """Trains a new classifier on the validation photos as well."""
        self._announce()
        print("  refit: on the training and the validation photos together", flush=True)
        recipe = self._recipe(refit=True)
        refit_in_phases(
            self._warmed_up(recipe),
            trained.phases,
            class_weights=balanced_class_weights(trained.recipe.label_counts, self.order.classes),
            label_smoothing=self.order.training.label_smoothing,
            folder=self.folder,
        )
        return recipe

    def _announce(self) -> None:
        """Says which member it is."""
        if len(self.order.model.backbones) > 1:
            print(f"  {self.folder.name}:", flush=True)

    def _recipe(self, *, refit: bool) -> Recipe:
        """What is trained on what.

        Args:
            refit: whether the validation photos are trained on as well.
        """
        order, (backbone,) = self.order, self.model.backbones
        # After a kill the random numbers must not start over, or the model would see the very
        # augmentations and dropout masks that it has already learnt from.
        epochs = committed_epochs(self.folder)
        seed = order.training.seed + epochs
        keras.utils.set_random_seed(seed)
        (train_files,) = self.fn_args.train_files
        if order.training.augmentation.mode == "cached":
            artifact = train_files.rsplit("/", 2)[0]
            return recipes.cached(
                self.model,
                order.training,
                order.classes,
                activations=folder_of(artifact, backbone, order.model.backbones),
                seed=seed,
                first_epoch=epochs,
                with_val=refit,
                targets=self.targets,
            )
        wanted = order.weights_hashes[order.model.backbones.index(backbone)]
        require_same_weights(backbone, self.model.weights, wanted)
        files = dict(zip((TRAIN, VAL), (train_files, *self.fn_args.eval_files), strict=True))
        return recipes.on_the_fly(
            self.model,
            order.training,
            order.classes,
            files=files,
            transform=self.transform,
            seed=seed,
            with_val=refit,
        )

    def _warmed_up(self, recipe: Recipe) -> list[Phase]:
        """The phases to train, once the classifier has the weights to go on from, if any.

        Args:
            recipe: untrained.

        Raises:
            ComponentError: the model that was pushed last does not fit.
        """
        if not self.order.training.warm_start:
            return recipe.phases
        if self.fn_args.base_model is None:
            print(
                "  warm start: nothing was pushed yet, so there is nothing to go on from",
                flush=True,
            )
            return recipe.phases
        with readable(_keras_folder(self.fn_args.base_model)) as folder:
            take_weights(recipe.classifier.model, self.order.origin, folder)
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


def _summary(
    order: _Order,
    trained: Mapping[str, Trained],
    exported: Mapping[str, Trained],
    answers: Answers,
) -> dict[str, Any]:
    """The figures of a training as JSON values."""
    recipes = [each.recipe for each in exported.values()]
    origins = [recipe.origin for recipe in recipes]
    return {
        # A student has the first one's.
        "backbone": " + ".join(order.model.backbones[: len(exported)]),
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
            for phase in _labelled_phases(trained)
        ],
        "exported_phase": " + ".join(
            f"{label} {each.kept}".strip() for label, each in exported.items()
        ),
        "refit": order.training.refit,
        "answers": answers.as_json(),
        **({"tuned": order.tuned} if order.tuned else {}),
    }


@contextmanager
def _training_folder(fn_args: FnArgs) -> Iterator[Path]:
    """The folder of this training's epochs, which is found again after a kill; gone at the end.

    It lies beside the ModelRun artifacts and outside of each, because a rerun gets a new artifact,
    and is named after all that the training depends on. Where they are remote, or there are several
    machines, it is temporary: a training that is killed there starts over.
    """
    if is_remote(fn_args.model_run_dir) or cluster():
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
    folder.mkdir(parents=True, exist_ok=True)
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
