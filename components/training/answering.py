"""From trained recipes to what is exported: the classifiers, and what their answers carry."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.model.answers import Answers, settle_answers
from components.model.folded import FoldedClassifier, fold_classifier
from components.model.settings import AnswerSettings
from components.model.subject import MAX_PHOTOS, Subject, fit_subject
from components.model.weights import RANDOM
from components.training.history import PhaseHistory
from components.training.phases import best_phase
from components.training.recipes import UNFROZEN, Recipe
from data.contract.features import TRAIN, VAL


@dataclass(frozen=True)
class Trained:
    """A recipe that was followed."""

    recipe: Recipe
    phases: list[PhaseHistory]

    @property
    def kept(self) -> str:
        """The name of the phase whose weights the classifier has."""
        return best_phase(self.phases).name


def settle(
    members: Sequence[Trained], settings: AnswerSettings, *, weights: str
) -> tuple[list[FoldedClassifier], Answers]:
    """Decides on the validation photos what the model says beyond its probabilities.

    Args:
        members: the one classifier, or an ensemble's; the first tells what shows a dog.
        settings: what is asked of the answers.
        weights: those that the training began with, as `build_backbone` takes them.

    Returns:
        The classifiers as `export` takes them, and what they say together.
    """
    first = members[0]
    subject: Subject | str = (
        "the weights before training are random, and know no photo from another"
    )
    pretrained = None
    if weights != RANDOM:
        views = first.recipe.pretrained_views
        (train, _), (val, _) = (views(split)[0] for split in (TRAIN, VAL))
        subject = fit_subject(train[:MAX_PHOTOS], val)
        pretrained = first.recipe.pretrained() if first.kept == UNFROZEN else None
    folded = [
        fold_classifier(
            member.recipe.classifier,
            member.recipe.boundary_layer,
            pretrained if member is first else None,
        )
        for member in members
    ]
    logits = []
    for member, model in zip(members, folded, strict=True):
        features, labels = member.recipe.validate(model)
        logits.append(features @ model.kernel + model.bias)
    answers = settle_answers(
        np.mean(logits, axis=0), labels, accuracy=settings.accuracy, subject=subject
    )
    return folded, answers
