import inspect

import pytest

from pipeline import pipeline
from pipeline.config import Config

NODES = (
    "ImportExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ClassDomain",
    "ExampleValidator",
    "AnomalyGate",
    "Transform",
    "Trainer",
    "Resolver",
    "Evaluator",
    "Pusher",
)


@pytest.mark.parametrize("name", NODES)
def test_a_node_can_be_imported(name: str) -> None:
    # TFX turns the ImportError of a component into None.
    assert inspect.isclass(getattr(pipeline, name)) or callable(getattr(pipeline, name))
