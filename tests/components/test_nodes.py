from pipeline import pipeline


def test_no_node_is_none() -> None:
    """TFX turns the ImportError of a component into None."""
    nodes = {name: value for name, value in vars(pipeline).items() if name[0].isupper()}
    assert {"Trainer", "Evaluator", "Resolver", "AnomalyGate"} < nodes.keys()
    assert not [name for name, value in nodes.items() if value is None]
