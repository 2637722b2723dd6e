import json
from typing import Any

import pytest
import tensorflow as tf

from components.errors import ComponentError
from components.training import machines
from components.training.history import PhaseHistory
from components.training.machines import Cluster, as_chief_says, part_of, share_of_machine


def config(cluster: dict[str, list[str]], kind: str, index: Any) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "expected"),
    [
        ({"chief": ["c:1"], "worker": ["w:1", "w:2"]}, "chief", 0, 0),
        ({"worker": ["w:1", "w:2"], "chief": ["c:1"]}, "worker", 1, 2),
        ({"workerpool0": ["c:1"], "workerpool1": ["w:1", "w:2"]}, "workerpool1", "0", 1),
    ],
)
def test_the_chief_is_the_first_of_the_machines(
    cluster: dict[str, list[str]], kind: str, index: Any, expected: int
) -> None:
    assert Cluster.of(config(cluster, kind, index)) == Cluster(("c:1", "w:1", "w:2"), expected)


def test_without_a_chief_the_first_worker_is_it() -> None:
    workers = {"worker": ["w:1", "w:2"]}
    assert Cluster.of(config(workers, "worker", 0)) == Cluster(("w:1", "w:2"), 0)


@pytest.mark.parametrize("text", ["", "{}", config({"chief": ["c:1"]}, "chief", 0)])
def test_a_machine_alone_is_no_cluster(text: str) -> None:
    assert Cluster.of(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers: 2", "TF_CONFIG=workers: 2: it should be like"),
        ("[]", r"TF_CONFIG=\[\]: it should be like"),
        (config({"worker": ["w:1", "w:2"]}, "worker", 2), "TF_CONFIG=.*: it should be like"),
        (config({"worker": ["w:1"], "ps": ["p:1"]}, "worker", 0), "TF_CONFIG names ps: only"),
    ],
)
def test_what_names_no_cluster_is_refused(text: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message) as error:
        Cluster.of(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("photos", [1, 2, 7, 64])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_are_the_whole_and_as_even_as_can_be(photos: int, count: int) -> None:
    batch = (tf.range(photos), tf.range(photos) * 2)
    parts = [part_of(batch, index, count) for index in range(count)]
    assert tf.concat([part[0] for part in parts], 0).numpy().tolist() == list(range(photos))
    assert all((part[1] == part[0] * 2).numpy().all() for part in parts)
    sizes = [len(part[0]) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_each_machine_has_its_share_of_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = tf.data.Dataset.range(10).batch(4)
    shares = []
    for index in range(2):
        alone = Cluster(("c:1", "w:1"), index)
        monkeypatch.setattr(machines, "cluster", lambda alone=alone: alone)
        shares.append([share.tolist() for share in share_of_machine(batches).as_numpy_iterator()])
    assert shares == [[[0, 1], [4, 5], [8]], [[2, 3], [6, 7], [9]]]


def test_a_history_of_any_length_is_taken_over_from_the_chief(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machines, "cluster", lambda: Cluster(("c:1", "w:1"), 0))
    monkeypatch.setattr(machines, "strategy", tf.distribute.get_strategy)
    epoch = {"accuracy": 0.5, "loss": 1.25, "val_accuracy": 0.5, "val_loss": 1.5}
    history = PhaseHistory("frozen", [epoch] * 2000, kept=7)
    assert as_chief_says(history) == history


def test_a_process_that_computes_already_joins_no_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    tf.constant(1).numpy()
    monkeypatch.setattr(machines, "cluster", lambda: Cluster(("c:1", "w:1"), 0))
    with pytest.raises(ComponentError, match="unset it where Trainer is not a process of its own"):
        machines.strategy.__wrapped__()
