"""The two recipes of transfer learning, both with phase `frozen` and phase `unfrozen`.

On photos, each phase computes the whole classifier; on the activations of a cache, it computes
only what it trains.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from components.errors import ComponentError
from components.model.backbone import WeightsOrigin
from components.model.classifier import Classifier, build_classifier
from components.model.extractor import Extractor
from components.model.folded import FoldedClassifier
from components.model.freezing import boundary_layer_name, unfreeze_last
from components.model.settings import ModelSettings
from components.model.weights import RANDOM, build_backbone
from components.training.cache.format import POOLED, SPATIAL, WEIGHTS, Feature, read_manifest
from components.training.cache.reading import (
    recorded_batches,
    training_batches,
    validation_batches,
)
from components.training.head import Labelled, solve_head
from components.training.history import PhaseHistory
from components.training.machines import share_of_machine, strategy
from components.training.phases import Phase, Splits
from components.training.photo_batches import (
    Share,
    augmented,
    label_counts,
    labelled_images,
    photo_batches,
    prefetched,
    whole,
)
from components.training.settings import TrainingSettings
from data.contract.features import TRAIN, VAL

FROZEN, UNFROZEN = PHASES = ("frozen", "unfrozen")

MAX_FEATURES = 50_000
"""Photos and views of them whose pooled features are held at once: 256 MB with 1,280 features."""


@dataclass(frozen=True)
class Recipe:
    """All that training needs."""

    classifier: Classifier
    """Untrained."""
    origin: WeightsOrigin
    """Where its backbone's weights come from."""
    phases: list[Phase]
    label_counts: Mapping[str, int]
    """Training photos of each class."""
    boundary_layer: str
    """The layer from which on the phases train the backbone."""
    pretrained: Callable[[], keras.Model]
    """Builds the backbone as it is before training."""
    pretrained_views: Callable[[str], list[Labelled]]
    """What that makes of the photos of a split, view by view: augmented ones of `train`, at most as
    many as the settings say and `MAX_FEATURES` allow, and of `val` the photos as they are."""
    validate: Callable[[FoldedClassifier], Labelled]
    """What a trained classifier makes of the validation photos, pooled, and their class ids."""
    recall: Callable[[FoldedClassifier], list[Labelled]] | None = None
    """The same of each view of the training photos, with the validation photos behind them, in the
    order of `recorded_batches`; None where views are made anew in each epoch."""


def on_the_fly(
    model_settings: ModelSettings,
    settings: TrainingSettings,
    classes: Sequence[str],
    *,
    files: Mapping[str, str],
    transform: tft.TFTransformOutput,
    seed: int,
    with_val: bool = False,
) -> Recipe:
    """The classical recipe: every photo is changed and seen by the whole model in every epoch.

    Args:
        model_settings: the classifier, of one backbone.
        settings: the phases and the augmentation.
        classes: class names in the order of their ids.
        files: of each split, the pattern of its gzipped TFRecords of tf.train.Example.
        transform: the Transform graph that makes pixels and label ids.
        seed: of the order of the photos and of their changes, below 2**31.
        with_val: whether the validation photos are trained on as well.

    Raises:
        ComponentError: the backbone's weights are not available.
    """
    (backbone_name,) = model_settings.backbones
    with strategy().scope():
        classifier = build_classifier(model_settings, len(classes))
    counts = label_counts(files[TRAIN])
    batch_size = settings.batch_size
    steps = math.ceil(sum(counts.values()) / batch_size)
    learnt = [files[split] for split in ((TRAIN, VAL) if with_val else (TRAIN,))]

    def changed(index: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels, hashes = batch
        view = (seed << 31) + index // steps  # a different one for each seed and epoch
        return augmented(images, hashes, view, settings.augmentation), labels

    def shared(share: Share, shuffle_seed: int) -> Splits:
        train = photo_batches(
            learnt, transform, batch_size=batch_size, shuffle_seed=shuffle_seed, share=share
        )
        return Splits(
            train=prefetched(
                train.repeat().enumerate().map(changed, num_parallel_calls=os.cpu_count())
            ),
            train_steps=steps,
            val=prefetched(
                labelled_images(files[VAL], transform, batch_size=batch_size, share=share)
            ),
        )

    splits = shared(whole, seed)

    def prepare(layers: int) -> tuple[keras.Model, Splits]:
        unfreeze_last(classifier.backbone, layers)
        # A dataset of its own for each phase, with other orders: how far one that is read ahead has
        # come with its orders when a phase ends is chance.
        return classifier.model, shared(share_of_machine, seed + layers)

    untrained = classifier.backbone.get_weights()

    @cache
    def pretrained() -> keras.Model:
        # Of random weights, another build would have others.
        backbone = build_backbone(backbone_name, RANDOM)[0]
        backbone.set_weights(untrained)
        return backbone

    @cache
    def pretrained_views(split: str) -> list[Labelled]:
        backbone = pretrained()
        extractor = Extractor(backbone, backbone.layers[-1].name)
        return _views(
            splits,
            split,
            lambda images: extractor(images)[1],
            batch_size=batch_size,
            photos=sum(counts.values()) + (label_counts(files[VAL]).total() if with_val else 0),
            views=settings.augmentation.views,
        )

    solve = _solver(classifier, settings, pretrained_views)

    def validate(model: FoldedClassifier) -> Labelled:
        return _joined(splits.val, lambda images: _pooled(model.tail(model.trunk(images))))

    return Recipe(
        classifier=classifier,
        origin=classifier.origin,
        phases=[
            Phase(FROZEN, settings.frozen, lambda: prepare(0), solve),
            Phase(UNFROZEN, settings.unfrozen, lambda: prepare(model_settings.unfreeze_layers)),
        ],
        label_counts=counts,
        boundary_layer=boundary_layer_name(classifier.backbone, model_settings.unfreeze_layers),
        pretrained=pretrained,
        pretrained_views=pretrained_views,
        validate=validate,
    )


def cached(
    model_settings: ModelSettings,
    settings: TrainingSettings,
    classes: Sequence[str],
    *,
    activations: str,
    seed: int,
    first_epoch: int,
    with_val: bool = False,
    targets: NDArray[np.float32] | None = None,
) -> Recipe:
    """The same phases on cached activations: the head alone, then from the freeze boundary on.

    Args:
        model_settings: the classifier, of one backbone; its weights are those that the activations
            come from.
        settings: the phases.
        classes: class names in the order of their ids.
        activations: the folder of the backbone's activations.
        seed: of the order of the photos.
        first_epoch: how many epochs were finished before a kill: it decides which view comes next.
        with_val: whether the validation photos are trained on as well.
        targets: what phase `unfrozen` learns in place of the labels, as for `training_batches`.

    Raises:
        ComponentError: the cache is incomplete, or holds the activations of another layer.
    """
    (backbone_name,) = model_settings.backbones
    manifest = read_manifest(activations)
    weights = f"{activations}/{WEIGHTS}"
    with strategy().scope():
        classifier = build_classifier(
            model_settings.model_copy(update={"weights": weights}), len(classes)
        )
    layer = boundary_layer_name(classifier.backbone, model_settings.unfreeze_layers)
    if layer != manifest.boundary_layer:
        raise ComponentError(
            f"unfreeze_layers {model_settings.unfreeze_layers} needs the activations of "
            f"{layer}, but {activations} holds those of {manifest.boundary_layer}"
        )

    learnt = (TRAIN, VAL) if with_val else (TRAIN,)

    def splits(feature: Feature, *, seed: int = seed, first_epoch: int = first_epoch) -> Splits:
        batch_size = settings.batch_size
        return Splits(
            train=training_batches(
                activations,
                feature,
                batch_size=batch_size,
                seed=seed,
                first_epoch=first_epoch,
                with_val=with_val,
                targets=targets if feature == SPATIAL else None,
            ),
            train_steps=math.ceil(manifest.photos[TRAIN] / batch_size),
            val=validation_batches(activations, feature, batch_size=batch_size),
        )

    def prepare_head() -> tuple[keras.Model, Splits]:
        unfreeze_last(classifier.backbone, 0)
        return classifier.head, _shared(splits(POOLED))

    def prepare_tail() -> tuple[keras.Model, Splits]:
        unfreeze_last(classifier.backbone, model_settings.unfreeze_layers)
        return classifier.tail(layer), _shared(splits(SPATIAL))

    @cache
    def pretrained_views(split: str) -> list[Labelled]:
        # As before a kill, so that the head's optimum is the same after it.
        return _views(
            splits(POOLED, seed=settings.seed, first_epoch=0),
            split,
            lambda pooled: pooled,
            batch_size=settings.batch_size,
            photos=sum(manifest.photos[split] for split in learnt),
            views=manifest.views,
        )

    solve = _solver(classifier, settings, pretrained_views)

    def validate(model: FoldedClassifier) -> Labelled:
        return _joined(splits(SPATIAL).val, lambda spatial: _pooled(model.tail(spatial)))

    def recall(model: FoldedClassifier) -> list[Labelled]:
        return [
            _joined(
                recorded_batches(activations, SPATIAL, view=view, batch_size=settings.batch_size),
                lambda spatial: _pooled(model.tail(spatial)),
            )
            for view in range(manifest.views)
        ]

    return Recipe(
        classifier=classifier,
        origin=manifest.weights,
        phases=[
            Phase(FROZEN, settings.frozen, prepare_head, solve),
            Phase(UNFROZEN, settings.unfrozen, prepare_tail),
        ],
        label_counts=manifest.label_counts,
        boundary_layer=layer,
        pretrained=lambda: build_backbone(backbone_name, weights)[0],
        pretrained_views=pretrained_views,
        validate=validate,
        recall=recall,
    )


def _shared(splits: Splits) -> Splits:
    """What this machine trains on, of batches that it has read whole: that costs little."""
    return dataclasses.replace(
        splits, train=share_of_machine(splits.train), val=share_of_machine(splits.val)
    )


def _solver(
    classifier: Classifier,
    settings: TrainingSettings,
    views: Callable[[str], list[Labelled]],
) -> Callable[[dict[int, float]], PhaseHistory] | None:
    """What gives the classifier's head its optimum, where the settings ask for that."""
    if settings.frozen.solver != "lbfgs":
        return None

    def solve(class_weights: dict[int, float]) -> PhaseHistory:
        (val,) = views(VAL)
        train = views(TRAIN)
        weights = [class_weights[label] for label in range(len(class_weights))]
        solved = solve_head(train, val, class_weights=weights, seed=settings.seed)
        classifier.head.get_layer("probabilities").set_weights([solved.kernel, solved.bias])
        end = solved.curve[-1]
        print(
            f"  phase {FROZEN}: the head's optimum, in {solved.iterations} iterations, with "
            f"penalty {solved.penalty:g} by cross-validation: "
            f"val accuracy {end['val_accuracy']:.4f}, val loss {end['val_loss']:.4f}",
            flush=True,
        )
        return PhaseHistory(FROZEN, solved.curve, kept=len(solved.curve) - 1)

    return solve


def _views(
    splits: Splits,
    split: str,
    compute: Callable[[tf.Tensor], tf.Tensor],
    *,
    batch_size: int,
    photos: int,
    views: int,
) -> list[Labelled]:
    """What is computed of a split's photos, view by view; of too many training photos, of some.

    Args:
        splits: where the photos are.
        split: which of them.
        compute: inputs to features [N, features].
        batch_size: inputs per batch.
        photos: how many are trained on.
        views: how many of each of these are wanted.
    """
    if split == VAL:
        return [_joined(splits.val, compute)]
    whole = min(views, MAX_FEATURES // photos)
    batches = whole * math.ceil(photos / batch_size) or math.ceil(MAX_FEATURES / batch_size)
    features, labels = _joined(splits.train.take(batches), compute)
    if not whole:
        return [(features[:MAX_FEATURES], labels[:MAX_FEATURES])]
    return [
        (features[view * photos : (view + 1) * photos], labels[view * photos : (view + 1) * photos])
        for view in range(whole)
    ]


def _pooled(top: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(top, axis=[1, 2])


def _joined(batches: tf.data.Dataset, compute: Callable[[tf.Tensor], tf.Tensor]) -> Labelled:
    """What is computed of all batches of (inputs, class ids), with the ids."""
    traced = tf.function(compute, reduce_retracing=True)
    pairs = [(traced(inputs).numpy(), labels.numpy()) for inputs, labels in batches]
    features, labels = (np.concatenate(each) for each in zip(*pairs, strict=True))
    return features, labels
