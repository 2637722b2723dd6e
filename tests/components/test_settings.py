import pytest
from pydantic import ValidationError

from components.evaluation.settings import GateSettings
from components.model.settings import ModelSettings
from components.settings import Section
from components.training.augmentation_settings import AugmentationSettings
from components.training.settings import PhaseSettings, TrainingSettings


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (ModelSettings, {"backbone": "resnet50"}),
        (ModelSettings, {"weights": ""}),
        (ModelSettings, {"unfreeze_layers": 0}),
        (ModelSettings, {"unfreeze_layers": 30.0}),
        (ModelSettings, {"dropout": 1.0}),
        (ModelSettings, {"colour": "red"}),
        (PhaseSettings, {"epochs": -1, "learning_rate": 0.1}),
        (PhaseSettings, {"epochs": "3", "learning_rate": 0.1}),
        (PhaseSettings, {"epochs": 3, "learning_rate": 0.0}),
        (PhaseSettings, {"epochs": 3}),
        (AugmentationSettings, {"rotation": 0.51}),
        (AugmentationSettings, {"contrast": 1.0}),
        (AugmentationSettings, {"horizontal_flip": 1}),
        (TrainingSettings, {"batch_size": 0}),
        (TrainingSettings, {"patience": 0}),
        (TrainingSettings, {"seed": -1}),
        (GateSettings, {"accuracy_floor": 1.1}),
        (GateSettings, {"error_rate": 0.6}),
        (GateSettings, {"size_mb": 0.0}),
    ],
)
def test_impossible_values_are_refused_by_their_key(
    section: type[Section], values: dict[str, object]
) -> None:
    with pytest.raises(ValidationError) as caught:
        section.model_validate(values)
    (problem,) = caught.value.errors()
    assert problem["loc"][0] in {*values, "learning_rate"}


@pytest.mark.parametrize(
    "section", [ModelSettings(), TrainingSettings(), GateSettings(accuracy_floor=0.4)]
)
def test_settings_reach_a_node_unchanged_as_json(section: Section) -> None:
    assert type(section).model_validate_json(section.model_dump_json()) == section


def test_settings_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ModelSettings().dropout = 0.5


def test_the_defaults_are_the_recipe() -> None:
    training = TrainingSettings()
    assert ModelSettings().unfreeze_layers == 30
    assert (training.frozen.epochs, training.unfrozen.epochs) == (10, 10)
    assert training.frozen.learning_rate > training.unfrozen.learning_rate
