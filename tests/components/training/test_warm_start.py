from pathlib import Path

import numpy as np
import pytest

from components.errors import ComponentError
from components.model.classifier import build_classifier
from components.model.settings import ModelSettings
from components.training.warm_start import Origin, keep_weights, take_weights

TINY = ModelSettings(backbone="tiny", weights="random")
ORIGIN = Origin(
    backbone="tiny", weights_hash="abc", unfreeze_layers=30, classes=["happy", "relaxed"]
)


def test_a_classifier_gets_the_weights_that_another_left(tmp_path: Path) -> None:
    left, taken = (build_classifier(TINY, classes=2).model for _ in range(2))
    left.set_weights([weights + 0.5 for weights in left.get_weights()])
    keep_weights(left, ORIGIN, tmp_path / "kept")
    take_weights(taken, ORIGIN, tmp_path / "kept")
    for expected, found in zip(left.get_weights(), taken.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "now"),
    [
        ("backbone", "efficientnet_b0"),
        ("weights_hash", "abd"),
        ("unfreeze_layers", 20),
        ("classes", ["relaxed", "happy"]),
    ],
)
def test_weights_of_another_origin_are_refused_by_name(
    tmp_path: Path, name: str, now: object
) -> None:
    model = build_classifier(TINY, classes=2).model
    before = model.get_weights()
    keep_weights(model, ORIGIN, tmp_path)
    with pytest.raises(ComponentError, match=rf"^{name} was .*set training.warm_start=false$"):
        take_weights(model, ORIGIN.model_copy(update={name: now}), tmp_path)
    for expected, found in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_model_that_left_none_is_an_error_that_names_the_fix(tmp_path: Path) -> None:
    model = build_classifier(TINY, classes=2).model
    with pytest.raises(ComponentError, match=f"{tmp_path} holds no weights to go on from"):
        take_weights(model, ORIGIN, tmp_path)
