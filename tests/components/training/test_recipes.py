from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from components.errors import ComponentError
from components.model.folded import fold_classifier
from components.model.settings import ModelSettings
from components.training import recipes
from components.training.cache.format import read_manifest
from components.training.phases import Splits, train_in_phases
from components.training.photo_batches import labelled_images
from components.training.recipes import FROZEN, UNFROZEN, Recipe
from components.training.settings import TrainingSettings
from pipeline.config import Config

# float16 rounds an activation by at most 2**-11 = 4.9e-4 of itself, and the probabilities that
# are computed of 3,136 such activations by less.
TOLERANCE = 1e-3


def cached(config: Config, activations: Any, **model: Any) -> Recipe:
    keras.utils.set_random_seed(0)
    return recipes.cached(
        config.model.model_copy(update=model),
        config.training,
        config.classes,
        activations=activations.uri,
        seed=0,
        first_epoch=0,
    )


def prepared(recipe: Recipe) -> dict[str, tuple[keras.Model, Splits]]:
    return {phase.name: phase.prepare() for phase in recipe.phases}


def test_both_phases_compute_what_the_whole_classifier_computes(
    config: Config,
    activations: Any,
    transform: Any,
    split_files: dict[str, str],
) -> None:
    recipe = cached(config, activations)
    photos = labelled_images(split_files["val"], transform, batch_size=32)
    expected = recipe.classifier.model.predict(photos.map(lambda images, _: images), verbose=0)
    labels = np.concatenate([batch for _, batch in photos])
    for model, splits in prepared(recipe).values():
        found = model.predict(splits.val.map(lambda x, _: x), verbose=0)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        np.testing.assert_array_equal(np.concatenate([y for _, y in splits.val]), labels)


def test_each_phase_trains_its_own_layers_of_the_classifier(
    config: Config, activations: Any, tmp_path: Path
) -> None:
    recipe = cached(config, activations)
    before = {weight.path: weight.numpy() for weight in recipe.classifier.model.weights}
    moved = {}
    for phase in recipe.phases:
        model, splits = phase.prepare()
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
        model.fit(splits.train, steps_per_epoch=splits.train_steps, verbose=0)
        now = {weight.path: weight.numpy() for weight in recipe.classifier.model.weights}
        moved[phase.name] = {path for path in now if not np.array_equal(now[path], before[path])}
        before = now
    head = {"probabilities/kernel", "probabilities/bias"}
    assert moved[FROZEN] == head
    assert moved[UNFROZEN] == head | {
        f"{layer}/{kernel}"
        for block in ("block1", "block2", "block3", "block4", "block5")
        for layer, kernel in ((f"{block}_dwconv", "kernel"), (f"{block}_project_conv", "kernel"))
    }


def test_an_epoch_has_every_photo_once(config: Config, activations: Any) -> None:
    photos = read_manifest(activations.uri).photos
    for _, splits in prepared(cached(config, activations)).values():
        sizes = [len(labels) for _, labels in splits.train.take(splits.train_steps)]
        assert sum(sizes) == photos["train"]
        assert sum(len(labels) for _, labels in splits.val) == photos["val"]


def test_the_summary_of_a_cached_training_names_the_weights_of_the_cache(
    config: Config, activations: Any, tmp_path: Path
) -> None:
    recipe = cached(config, activations)
    assert recipe.origin == read_manifest(activations.uri).weights
    results = train_in_phases(
        recipe.classifier.model,
        recipe.phases,
        class_weights=dict.fromkeys(range(4), 1.0),
        label_smoothing=0,
        patience=1,
        folder=tmp_path,
    )
    assert [result.name for result in results] == [FROZEN, UNFROZEN]


def test_a_seed_gives_the_same_photos_on_the_fly_and_each_epoch_others(
    config: Config, transform: Any, split_files: dict[str, str]
) -> None:
    def epochs(seed: int) -> list[list[np.ndarray]]:
        recipe = recipes.on_the_fly(
            config.model,
            config.training.model_copy(update={"batch_size": 8}),
            config.classes,
            files=split_files,
            transform=transform,
            seed=seed,
        )
        splits = recipe.phases[0].prepare()[1]
        batches = [images for images, _ in splits.train.take(2 * splits.train_steps)]
        return [
            sorted(
                np.asarray(image).mean(axis=(0, 1)).tolist() for batch in part for image in batch
            )
            for part in (batches[: splits.train_steps], batches[splits.train_steps :])
        ]

    first, second = epochs(7)
    assert len(first) == len(second)
    assert first != second
    assert epochs(7) == [first, second]
    assert epochs(8)[0] not in (first, second)


def test_no_phase_on_the_fly_repeats_the_orders_of_the_one_before(
    config: Config, transform: Any, split_files: dict[str, str]
) -> None:
    recipe = recipes.on_the_fly(
        config.model,
        config.training.model_copy(update={"batch_size": 8}),
        config.classes,
        files=split_files,
        transform=transform,
        seed=7,
    )
    frozen, unfrozen = (
        np.concatenate([images for images, _ in splits.train.take(splits.train_steps)])
        for _, splits in prepared(recipe).values()
    )
    # Both are the first view of each photo, and differ by the order alone.
    assert not np.array_equal(frozen, unfrozen)
    assert np.sort(frozen.mean(axis=(1, 2, 3))) == pytest.approx(
        np.sort(unfrozen.mean(axis=(1, 2, 3))), rel=1e-5
    )


@pytest.mark.parametrize("unfreeze_layers", [30, 44])
def test_the_exported_parts_make_of_validation_photos_what_the_backbone_does(
    config: Config,
    activations: Any,
    transform: Any,
    split_files: dict[str, str],
    unfreeze_layers: int,
) -> None:
    """Even where all layers are trained, and the trunk is nothing."""
    found = [
        recipes.on_the_fly(
            config.model.model_copy(update={"unfreeze_layers": unfreeze_layers}),
            config.training,
            config.classes,
            files=split_files,
            transform=transform,
            seed=0,
        )
    ]
    if unfreeze_layers == 30:
        found.append(cached(config, activations))
    ((images, ids),) = labelled_images(split_files["val"], transform, batch_size=99)
    counts = [found[0].label_counts[name] for name in config.classes]
    for recipe in found:
        before = recipe.pretrained()(images, training=False).numpy().mean(axis=(1, 2))
        ((seen, classes),) = recipe.pretrained_views("val")
        np.testing.assert_allclose(seen, before, rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(classes, ids)
        views = recipe.pretrained_views("train")
        assert len(views) == config.training.augmentation.views
        for _, classes in views:
            assert np.bincount(classes).tolist() == counts
        layer = recipe.classifier.backbone.get_layer("block5_project_conv")
        layer.kernel.assign(2 * layer.kernel)  # as if it had been trained
        after = recipe.classifier.backbone(images, training=False).numpy().mean(axis=(1, 2))
        assert np.abs(after - before).max() > 0.1
        model = fold_classifier(recipe.classifier, recipe.boundary_layer, recipe.pretrained())
        features, labels = recipe.validate(model)
        np.testing.assert_allclose(features, after, rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(labels, ids)
        tail = model.pretrained_tail(model.trunk(images))
        np.testing.assert_allclose(tail.numpy().mean(axis=(1, 2)), before, rtol=1e-3, atol=1e-3)


def test_random_weights_are_the_same_before_training_as_in_it(
    config: Config, transform: Any, split_files: dict[str, str]
) -> None:
    """Else the head would be solved on features of another network."""
    random = {"backbone": "efficientnet_lite0", "weights": "random"}
    recipe = recipes.on_the_fly(
        config.model.model_copy(update=random),
        config.training,
        config.classes,
        files=split_files,
        transform=transform,
        seed=0,
    )
    pairs = zip(
        recipe.pretrained().get_weights(), recipe.classifier.backbone.get_weights(), strict=True
    )
    assert all(np.array_equal(one, other) for one, other in pairs)


def test_a_cache_of_another_boundary_is_refused(config: Config, activations: Any) -> None:
    with pytest.raises(ComponentError, match="unfreeze_layers 18 needs the activations of block2"):
        cached(config, activations, unfreeze_layers=18)


def test_a_cache_that_is_not_complete_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="missing or damaged"):
        recipes.cached(
            ModelSettings(backbone="tiny", weights="random"),
            TrainingSettings(),
            config.classes,
            activations=str(tmp_path),
            seed=0,
            first_epoch=0,
        )
