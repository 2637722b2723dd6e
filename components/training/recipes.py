"""The two recipes of transfer learning, both with phase `frozen` and phase `unfrozen`.

On photos each phase computes the whole classifier; on the activations of a cache it computes
only what it trains.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf
import tensorflow_transform as tft

from components.errors import ComponentError
from components.model.backbone import WeightsOrigin
from components.model.classifier import build_classifier
from components.model.freezing import boundary_layer_name, unfreeze_last
from components.model.settings import ModelSettings
from components.training.cache.format import POOLED, SPATIAL, WEIGHTS, Feature, read_manifest
from components.training.cache.reading import evaluation_batches, training_batches
from components.training.phases import Phase, Splits
from components.training.photo_batches import (
    augmented,
    label_counts,
    labelled_images,
    photo_batches,
    prefetched,
)
from components.training.settings import TrainingSettings
from data.contract.features import TEST, TRAIN, VAL

FROZEN, UNFROZEN = PHASES = ("frozen", "unfrozen")


@dataclass(frozen=True)
class Recipe:
    """All that training needs."""

    model: keras.Model
    """The whole classifier, untrained: float32 [N, 224, 224, 3] to probabilities [N, classes]."""
    origin: WeightsOrigin
    """Where its backbone's weights come from."""
    phases: list[Phase]
    label_counts: Mapping[str, int]
    """Training photos of each class."""


def on_the_fly(
    model_settings: ModelSettings,
    settings: TrainingSettings,
    classes: Sequence[str],
    *,
    files: Mapping[str, str],
    transform: tft.TFTransformOutput,
    seed: int,
) -> Recipe:
    """The classical recipe: every photo is changed and seen by the whole model in every epoch.

    Args:
        model_settings: the classifier.
        settings: the phases and the augmentation.
        classes: class names in the order of their ids.
        files: of each split, the pattern of its gzipped TFRecords of tf.train.Example.
        transform: the Transform graph that makes pixels and label ids.
        seed: of the order of the photos and of their changes, below 2**31.

    Raises:
        ComponentError: the backbone's weights cannot be had.
    """
    classifier = build_classifier(model_settings, len(classes))
    counts = label_counts(files[TRAIN])
    batch_size = settings.batch_size
    steps = math.ceil(sum(counts.values()) / batch_size)

    def changed(index: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels, hashes = batch
        view = (seed << 32) + index // steps  # another one for each seed and epoch
        return augmented(images, hashes, view, settings.augmentation), labels

    train = photo_batches(files[TRAIN], transform, batch_size=batch_size, shuffle_seed=seed)
    splits = Splits(
        train=prefetched(
            train.repeat().enumerate().map(changed, num_parallel_calls=os.cpu_count())
        ),
        train_steps=steps,
        val=prefetched(labelled_images(files[VAL], transform, batch_size=batch_size)),
        test=prefetched(labelled_images(files[TEST], transform, batch_size=batch_size)),
    )

    def prepare(layers: int) -> tuple[keras.Model, Splits]:
        unfreeze_last(classifier.backbone, layers)
        return classifier.model, splits

    phases = [
        Phase(FROZEN, settings.frozen, lambda: prepare(0)),
        Phase(UNFROZEN, settings.unfrozen, lambda: prepare(model_settings.unfreeze_layers)),
    ]
    return Recipe(classifier.model, classifier.origin, phases, counts)


def cached(
    model_settings: ModelSettings,
    settings: TrainingSettings,
    classes: Sequence[str],
    *,
    activations: str,
    seed: int,
    first_epoch: int,
) -> Recipe:
    """The same phases on cached activations: the head alone, then from the freeze boundary on.

    Args:
        model_settings: the classifier; its weights are those that the activations come from.
        settings: the phases.
        classes: class names in the order of their ids.
        activations: the folder of ActivationCache's artifact.
        seed: of the order of the photos.
        first_epoch: how many epochs there were before a kill: it says which view comes next.

    Raises:
        ComponentError: the cache is not complete, or is of another boundary layer.
    """
    manifest = read_manifest(activations)
    weights = {"weights": f"{activations}/{WEIGHTS}"}
    classifier = build_classifier(model_settings.model_copy(update=weights), len(classes))
    layer = boundary_layer_name(classifier.backbone, model_settings.unfreeze_layers)
    if layer != manifest.boundary_layer:
        raise ComponentError(
            f"unfreeze_layers {model_settings.unfreeze_layers} needs the activations of "
            f"{layer}, but {activations} holds those of {manifest.boundary_layer}"
        )

    def splits(feature: Feature) -> Splits:
        batch_size = settings.batch_size
        return Splits(
            train=training_batches(
                activations, feature, batch_size=batch_size, seed=seed, first_epoch=first_epoch
            ),
            train_steps=math.ceil(manifest.photos[TRAIN] / batch_size),
            val=evaluation_batches(activations, VAL, feature, batch_size=batch_size),
            test=evaluation_batches(activations, TEST, feature, batch_size=batch_size),
        )

    def prepare_head() -> tuple[keras.Model, Splits]:
        unfreeze_last(classifier.backbone, 0)
        return classifier.head, splits(POOLED)

    def prepare_tail() -> tuple[keras.Model, Splits]:
        unfreeze_last(classifier.backbone, model_settings.unfreeze_layers)
        return classifier.tail(layer), splits(SPATIAL)

    phases = [
        Phase(FROZEN, settings.frozen, prepare_head),
        Phase(UNFROZEN, settings.unfrozen, prepare_tail),
    ]
    return Recipe(classifier.model, manifest.weights, phases, manifest.label_counts)
