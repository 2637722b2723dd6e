"""The search for hyper-parameters on cached activations: many heads, then the best few unfrozen."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras_tuner import HyperParameters, Objective
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.oracles import HyperbandOracle

from components.model.settings import ModelSettings
from components.training import recipes
from components.training.head_epochs import HeadEpochs, HeadSettings
from components.training.history import Epoch
from components.training.hyperparameters import (
    HEAD,
    TAIL,
    UNFROZEN,
    Values,
    as_text,
    current_values,
    searched,
)
from components.training.phases import best_phase, train_in_phases
from components.training.photo_batches import balanced_class_weights
from components.training.recipes import Recipe
from components.training.settings import TrainingSettings
from components.training.tuned_settings import tuned_settings
from data.contract.features import TRAIN, VAL
from data.contract.progress import tenths

HEADS = 120
"""Trials of the head alone."""
BEST = 3
"""Of these, how many are unfrozen."""
FACTORS = (1.0, 2.0, 0.5)
"""Of the learning rate that the settings have for phase `unfrozen`, one for each of the best heads,
which says nothing of it."""

_LOSS = "val_loss"


@dataclass(frozen=True)
class Search:
    """What is searched for, and on what."""

    settings: Mapping[str, Any]
    """As they were: the sections `model` and `training`, as JSON values."""
    classes: list[str]
    activations: str
    """The folder of ActivationCache's artifact."""
    folder: Path
    """Where the search may write."""


class HeadsThenBest(HyperbandOracle):
    """Which values are tried next.

    First `HEADS` heads: Hyperband trains many for an epoch or a few and goes on with the best
    (https://arxiv.org/abs/1603.06560). Then, unfrozen, the settings as they were, lest the search
    make them worse, and the `BEST` heads.
    """

    def __init__(self, before: Values, *, epochs: int, seed: int) -> None:
        """Begins a search.

        Args:
            before: the values that the settings have now.
            epochs: how many the training of a head has.
            seed: of what is tried.
        """
        space = HyperParameters()
        for name, choices in HEAD.items():
            space.Choice(name, list(choices))
        super().__init__(
            objective=Objective(_LOSS, "min"),
            max_epochs=epochs,
            hyperband_iterations=None,  # as many as `HEADS` trials are
            seed=seed + 1,  # KerasTuner takes 0 for none
            hyperparameters=space,
            max_consecutive_failed_trials=1,
        )
        self._before = before
        self.max_trials = HEADS + 1 + BEST
        self.verbose = 0

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of the next trial; see KerasTuner's Oracle."""
        rank = len(self.trials) - HEADS
        if rank < 0:
            return dict(super().populate_space(trial_id))
        values = self._before
        if rank:
            rate = min(values[TAIL] * FACTORS[rank - 1], 1.0)
            values = {**self._best_heads()[rank - 1], TAIL: rate}
        return {"status": TrialStatus.RUNNING, "values": {**values, UNFROZEN: rank}}

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """The trials that were unfrozen before those that were not, the better ones first."""
        done = [each for each in self.trials.values() if each.status == TrialStatus.COMPLETED]
        done.sort(key=lambda trial: (UNFROZEN not in trial.hyperparameters.values, trial.score))
        return done[:num_trials]

    def _best_heads(self) -> list[Values]:
        """The values of the `BEST` heads; of trials that share a head's values, the better one's.

        Hyperband goes on with a head in a new trial.
        """
        heads: dict[tuple[Any, ...], Values] = {}
        for trial in super().get_best_trials(HEADS):
            values = trial.hyperparameters.values
            if UNFROZEN not in values:
                heads.setdefault(tuple(values[name] for name in HEAD), searched(values))
        return list(heads.values())[:BEST]


class SettingsTuner(BaseTuner):
    """Runs the trials."""

    def __init__(self, search: Search) -> None:
        """Reads the features.

        Args:
            search: what is searched for.

        Raises:
            ComponentError: the cache is incomplete, or holds the activations of another layer.
        """
        self._search = search
        model, training = tuned_settings(search.settings, {})
        recipe = self._recipe(model, training)
        self._views, (self._val,) = (recipe.pretrained_views(split) for split in (TRAIN, VAL))
        self._class_weights = balanced_class_weights(recipe.label_counts, search.classes)
        self._epochs, self._seed = training.frozen.epochs, training.seed
        self._heads: dict[str, HeadEpochs] = {}
        self._tell = tenths("  tuning: heads")
        self._failure: Exception | None = None
        self._began = time.monotonic()
        self._before = current_values(search.settings)
        oracle = HeadsThenBest(self._before, epochs=self._epochs, seed=self._seed)
        super().__init__(
            oracle, directory=str(search.folder), project_name="trials", overwrite=True
        )

    def search_space_summary(self, extended: bool = False) -> None:
        """Nothing: TFX has it printed, in thirty lines."""

    def results_summary(self, num_trials: int = 10) -> None:
        """What was found, in a line."""
        unfrozen = self.oracle.get_best_trials(1 + BEST)
        (before,) = (each for each in unfrozen if not each.hyperparameters.values[UNFROZEN])
        best = unfrozen[0]
        print(
            f"  tuning: the best has val loss {best.score:.4f}, the settings as they were have "
            f"{before.score:.4f}: {as_text(searched(best.hyperparameters.values), self._before)}",
            flush=True,
        )

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Trains with the trial's values; see KerasTuner's BaseTuner.

        Returns:
            The lowest validation loss.
        """
        try:
            if UNFROZEN in trial.hyperparameters.values:
                return {_LOSS: self._unfreeze(trial.hyperparameters.values)}
            return {_LOSS: self._train_head(trial)}
        except Exception as error:
            self._failure = error
            raise

    def on_trial_end(self, trial: Trial) -> None:
        """Fails where a trial has failed: KerasTuner would do without it."""
        if self._failure:
            raise self._failure
        super().on_trial_end(trial)

    def _train_head(self, trial: Trial) -> float:
        values = trial.hyperparameters.values
        goes_on = values.get("tuner/trial_id")
        head = self._heads[goes_on] if goes_on else self._new_head(values)
        self._heads[trial.trial_id] = head
        loss = head.train(values["tuner/epochs"])
        self._tell(len(self.oracle.trials), HEADS)
        if len(self.oracle.trials) == HEADS:
            seconds = time.monotonic() - self._began
            print(
                f"  tuning: {HEADS} heads in {seconds:.0f} seconds, "
                f"~{HEADS * 60 / seconds:,.0f} trials a minute",
                flush=True,
            )
        return loss

    def _new_head(self, values: Values) -> HeadEpochs:
        settings = HeadSettings(
            dropout=values["model.dropout"],
            label_smoothing=values["training.label_smoothing"],
            batch_size=values["training.batch_size"],
            learning_rate=values["training.frozen.learning_rate"],
            cosine=values["training.frozen.schedule"] == "cosine",
            epochs=self._epochs,
        )
        return HeadEpochs(
            self._views,
            self._val,
            class_weights=[self._class_weights[label] for label in range(len(self._class_weights))],
            settings=settings,
            seed=self._seed,
        )

    def _unfreeze(self, values: Values) -> float:
        rank = values[UNFROZEN]
        print(
            f"  tuning: unfrozen, {rank + 1} of {1 + BEST}: "
            f"{as_text(searched(values), self._before)}",
            flush=True,
        )
        model, training = tuned_settings(self._search.settings, searched(values))
        recipe = self._recipe(model, training)
        with tempfile.TemporaryDirectory(dir=self._search.folder) as epochs:
            phases = train_in_phases(
                recipe.classifier.model,
                recipe.phases,
                class_weights=self._class_weights,
                label_smoothing=training.label_smoothing,
                patience=training.patience,
                folder=Path(epochs),
            )
        best: Epoch = best_phase(phases).best
        print(
            f"  tuning: val accuracy {best['val_accuracy']:.4f}, val loss {best[_LOSS]:.4f}",
            flush=True,
        )
        return best[_LOSS]

    def _recipe(self, model: ModelSettings, training: TrainingSettings) -> Recipe:
        """What the Trainer would train with these settings, from the same random numbers on."""
        keras.utils.set_random_seed(training.seed)
        return recipes.cached(
            model,
            training,
            self._search.classes,
            activations=self._search.activations,
            seed=training.seed,
            first_epoch=0,
        )
