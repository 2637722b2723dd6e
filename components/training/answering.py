"""From a trained recipe to what is exported of it: the classifier, and what its answers carry."""

from components.model.answers import Answers, settle_answers
from components.model.folded import FoldedClassifier, fold_classifier
from components.model.settings import AnswerSettings
from components.model.subject import MAX_PHOTOS, Subject, fit_subject
from components.model.weights import RANDOM
from components.training.recipes import Recipe
from data.contract.features import TRAIN, VAL


def settle(
    recipe: Recipe, settings: AnswerSettings, *, weights: str, tail_is_trained: bool
) -> tuple[FoldedClassifier, Answers]:
    """Decides on the validation photos what the model says beyond its probabilities.

    Args:
        recipe: trained.
        settings: what is asked of the answers.
        weights: those that the training began with, as `build_backbone` takes them.
        tail_is_trained: whether the backbone's last layers have changed since then.

    Returns:
        The classifier as `export` takes it, and what it says.
    """
    subject: Subject | str = (
        "the weights before training are random, and know no photo from another"
    )
    pretrained = None
    if weights != RANDOM:
        (train, _), (val, _) = (recipe.pretrained_views(split)[0] for split in (TRAIN, VAL))
        subject = fit_subject(train[:MAX_PHOTOS], val)
        pretrained = recipe.pretrained() if tail_is_trained else None
    model = fold_classifier(recipe.classifier, recipe.boundary_layer, pretrained)
    features, labels = recipe.validate(model)
    logits = features @ model.kernel + model.bias
    return model, settle_answers(logits, labels, accuracy=settings.accuracy, subject=subject)
