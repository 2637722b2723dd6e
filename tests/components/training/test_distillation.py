from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from components.model.folded import FoldedClassifier, fold_classifier
from components.training import recipes
from components.training.answering import Trained
from components.training.distillation import SHARE, soft_targets
from components.training.recipes import UNFROZEN, Recipe
from pipeline.config import Config

TEMPERATURE = 2.0


def test_a_student_is_taught_what_the_teachers_say_of_the_very_view_it_sees(
    config: Config, activations: Any
) -> None:
    def recipe(seed: int, targets: Any = None) -> Recipe:
        keras.utils.set_random_seed(seed)
        return recipes.cached(
            config.model,
            config.training,
            config.classes,
            activations=activations.uri,
            seed=0,
            first_epoch=0,
            targets=targets,
        )

    teachers = [Trained(recipe(seed), []) for seed in (1, 2)]
    models = [
        fold_classifier(each.recipe.classifier, each.recipe.boundary_layer, None)
        for each in teachers
    ]
    targets = soft_targets(teachers, models, TEMPERATURE)
    np.testing.assert_allclose(targets.sum(axis=-1), 1, atol=1e-6)

    def logits(model: FoldedClassifier, spatial: Any) -> Any:
        return model.tail(spatial).numpy().mean(axis=(1, 2)) @ model.kernel + model.bias

    taught, plain = (
        {phase.name: phase.prepare for phase in made.phases}[UNFROZEN]()[1]
        for made in (recipe(0, targets), recipe(0))
    )
    batches = 2 * taught.train_steps  # two views
    for (spatial, told), (same, labels) in zip(
        taught.train.take(batches), plain.train.take(batches), strict=True
    ):
        np.testing.assert_array_equal(spatial, same)
        said = softmax(np.mean([logits(each, spatial) for each in models], axis=0) / 2, axis=1)
        wanted = (1 - SHARE) * np.eye(len(config.classes))[labels] + SHARE * said
        np.testing.assert_allclose(told, wanted, atol=1e-5)
