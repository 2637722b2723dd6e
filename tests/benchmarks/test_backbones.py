import numpy as np
import pytest

from benchmarks.backbones import CHOICES, DISTILLED, LITES, Row, settings_of
from data.contract.features import TEST, VAL
from data.contract.servable import Cost
from pipeline.config import load_config


@pytest.mark.parametrize("choice", [*CHOICES, DISTILLED])
def test_each_choice_is_a_configuration(choice: str) -> None:
    _, *overrides = list(settings_of(choice, seed=3))
    config = load_config("photos", overrides=overrides[::2])
    assert config.model.backbones == CHOICES.get(choice, LITES)
    assert config.training.distill == (choice == DISTILLED)
    assert config.training.seed == 3


def test_a_row_is_the_mean_of_its_seeds_and_the_median_of_its_times() -> None:
    row = Row("lite0")
    row.right[VAL] = [np.array([True, False]), np.array([True, True])]
    row.right[TEST] = [np.array([True, False]), np.array([False, False])]
    row.costs = [Cost(21.6, 30.0), Cost(21.6, 20.0), Cost(21.6, 90.0)]
    assert str(row).split() == ["lite0", "0.750", "0.250", "(0.027", "to", "0.802)", "30.0", "22"]
