import json
import tomllib
from typing import Any

import pytest

from components.errors import ComponentError
from components.training.hyperparameters import (
    HEAD,
    as_toml,
    current_values,
    lay_over,
    read_values,
)
from components.training.tuned_settings import tuned_settings
from pipeline.config import load_config, parse_config

FOUND = {
    "model.dropout": 0.4,
    "training.label_smoothing": 0.05,
    "training.batch_size": 64,
    "training.frozen.solver": "adam",
    "training.frozen.learning_rate": 0.003,
    "training.frozen.schedule": "cosine",
    "training.unfrozen.learning_rate": 0.0001,
}


def settings() -> dict[str, Any]:
    return dict(json.loads(load_config("photos").model_dump_json()))


def test_every_value_that_is_tried_is_one_that_the_settings_take() -> None:
    for name, choices in HEAD.items():
        for value in choices:
            laid = parse_config(lay_over(settings(), {name: value})).model_dump()
            assert current_values(laid)[name] == value


def test_what_was_found_is_a_file_that_config_takes(tmp_path: Any) -> None:
    file = tmp_path / "found.toml"
    file.write_text(as_toml(FOUND))
    config = load_config("photos", file=file)
    assert current_values(config.model_dump()) == FOUND
    model, training = tuned_settings(settings(), FOUND)
    assert (config.model, config.training) == (model, training)
    assert config.training.patience == load_config("photos").training.patience
    assert tomllib.loads(file.read_text()).keys() == {"model", "training"}


def test_settings_stay_as_they_are_where_nothing_was_found() -> None:
    before = settings()
    laid = lay_over(before, {"model.dropout": 0.1})
    assert laid["model"]["dropout"] == 0.1
    assert before == settings()
    assert lay_over(before, {}) == before


def test_the_values_of_an_artifact_are_read_without_the_books_of_the_search() -> None:
    values = {"training.batch_size": 16, "tuner/epochs": 3, "tuner/unfrozen": 0}
    assert read_values({"space": [], "values": values}) == {"training.batch_size": 16}


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ([], r'expected \{"values": \{...\}\}'),
        ({}, r'expected \{"values": \{...\}\}'),
        ({"values": [1]}, r'expected \{"values": \{...\}\}'),
        (
            {"values": {"model.weights": "mine"}},
            'hyper-parameter model.weights = "mine": no such one; allowed are model.dropout, ',
        ),
    ],
)
def test_what_is_not_of_a_tuner_is_refused(hyperparameters: object, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        read_values(hyperparameters)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("training.batch_size", 0, "training.batch_size = 0: should be greater than or equal to 1"),
        ("model.dropout", "much", 'model.dropout = "much": should be a valid number'),
        (
            "training.unfrozen.schedule",
            "linear",
            "training.unfrozen.schedule = \"linear\": should be 'constant' or 'cosine'",
        ),
    ],
)
def test_a_value_that_a_setting_may_not_have_is_refused_by_name(
    name: str, value: object, message: str
) -> None:
    with pytest.raises(ComponentError) as caught:
        tuned_settings(settings(), {name: value})
    assert str(caught.value) == f"hyper-parameter {message}"
