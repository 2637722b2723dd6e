"""Where training takes place: on one device, on the GPUs of a machine, or on several machines."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.errors import ComponentError
from components.training.history import PhaseHistory

_KINDS = ("chief", "master", "workerpool0", "worker", "workerpool1")
"""What TF_CONFIG and Vertex AI call machines; the first of those that there are is the chief."""

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


@dataclass(frozen=True)
class Cluster:
    """The machines that train together."""

    addresses: tuple[str, ...]
    """The chief's is the first."""
    index: int
    """Of this machine."""

    @classmethod
    def of(cls, config: str) -> Self | None:
        """Reads TF_CONFIG.

        Args:
            config: JSON with `cluster` and `task`, as
                https://cloud.google.com/vertex-ai/docs/training/distributed-training describes it;
                or nothing.

        Returns:
            None where no other machine is named.

        Raises:
            ComponentError: it is not of this form.
        """
        if not config:
            return None
        try:
            found = json.loads(config)
            named, task = found.get("cluster") or {}, found.get("task") or {}
            if unknown := set(named) - set(_KINDS):
                raise ComponentError(
                    f"TF_CONFIG names {', '.join(sorted(unknown))}: only a chief and workers train "
                    "together; leave the others out of the job"
                )
            machines = [
                (kind, index) for kind in _KINDS for index in range(len(named.get(kind, ())))
            ]
            if len(machines) < 2:
                return None
            addresses = tuple(str(named[kind][index]) for kind, index in machines)
            return cls(addresses, machines.index((task["type"], int(task["index"]))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ComponentError(
                f"TF_CONFIG={config[:500]}: it should be like "
                '{"cluster": {"chief": ["HOST:PORT"], "worker": ["HOST:PORT"]}, '
                '"task": {"type": "worker", "index": 0}}'
            ) from error


@cache
def cluster() -> Cluster | None:
    """The machines that train together; None where this one trains by itself."""
    return Cluster.of(os.environ.get("TF_CONFIG", ""))


def is_chief() -> bool:
    """Whether what is trained here is kept: of several machines, one writes."""
    machines = cluster()
    return machines is None or machines.index == 0


def gpus() -> list[tuple[int, int]]:
    """The compute capability of each GPU of this machine."""
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [each.get("compute_capability", (0, 0)) for each in details]


@cache
def strategy() -> tf.distribute.Strategy:
    """How variables are kept alike: among machines, among GPUs, or, as usual, not at all.

    Where there are several machines, it must be asked for before TensorFlow computes anything; it
    returns once all of them have come, and waits for an hour at the most.

    Raises:
        ComponentError: a machine has not come, or this one comes too late.
    """
    machines, devices = cluster(), len(gpus())
    if machines:
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(machines.addresses)}),
            task_type="worker",
            task_id=machines.index,
            num_accelerators={"GPU": devices},
            rpc_layer="grpc",
        )
        try:
            with lost_machine_named():
                together = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        except RuntimeError as error:
            raise ComponentError(
                "TF_CONFIG names several machines, but TensorFlow is at work here already, and can "
                "no longer join them: unset it where Trainer is not a process of its own"
            ) from error
        count = len(machines.addresses)
        print(f"  machine {machines.index + 1} of {count} that train together", flush=True)
        return together
    if devices > 1:
        print(f"  on {devices} GPUs", flush=True)
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def share_of_machine(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Of each batch the part that this machine trains on: all of it where there is no other."""
    machines = cluster()
    if machines is None:
        return batches
    index, count = machines.index, len(machines.addresses)

    def part(*batch: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, ...]:
        found = part_of(batch, index, count)
        return found if len(found) > 1 else found[0]

    return batches.map(part)


def part_of(
    batch: Sequence[tf.Tensor], index: int | tf.Tensor, count: int
) -> tuple[tf.Tensor, ...]:
    """One of the parts of a batch, which differ by one photo at the most and may be empty.

    Args:
        batch: tensors that begin with the same dimension.
        index: of the part.
        count: how many parts there are.
    """
    photos = tf.shape(batch[0])[0]
    begin, end = photos * index // count, photos * (index + 1) // count
    return tuple(each[begin:end] for each in batch)


def from_chief(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the chief gives, on every machine.

    Args:
        value: of the same shape on all machines.

    Raises:
        ComponentError: another machine is gone.
    """
    shared = strategy()

    def on_replica(own: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        first = tf.equal(replica.replica_id_in_sync_group, 0)
        given = tf.where(first, own, tf.zeros_like(own))
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, given)

    @tf.function
    def on_all(own: tf.Tensor) -> tf.Tensor:
        return shared.experimental_local_results(shared.run(on_replica, args=(own,)))[0]

    with lost_machine_named():
        return np.asarray(on_all(tf.constant(value)).numpy())


def as_chief_says(history: PhaseHistory) -> PhaseHistory:
    """The chief's history of a phase that each machine has solved for itself.

    What follows from it must be the same everywhere, and machines may differ in rounding.

    Args:
        history: this machine's.

    Raises:
        ComponentError: another machine is gone.
    """
    if cluster() is None:
        return history
    letters = np.frombuffer(json.dumps(asdict(history)).encode(), np.uint8)
    length = int(from_chief(np.array([len(letters)], np.float32))[0])
    # What the others give is not looked at, but has to be of the same shape.
    said = from_chief(np.resize(letters, length).astype(np.float32))
    return PhaseHistory(**json.loads(said.astype(np.uint8).tobytes()))


def wait_for_all() -> None:
    """Returns when every machine has come so far.

    Raises:
        ComponentError: another machine is gone.
    """
    if cluster():
        from_chief(np.zeros(1, np.float32))


@contextmanager
def lost_machine_named() -> Iterator[None]:
    """Says so in a line when TensorFlow finds that another machine is gone.

    It takes some ten seconds to: the machines tell each other that they are alive.

    Raises:
        ComponentError: another machine is gone.
    """
    machines = cluster()
    try:
        yield
    except _LOST as error:
        if machines is None:
            raise
        told = {int(index) for index in re.findall(r"/task:(\d+)", error.message)}
        lost = ", ".join(machines.addresses[index] for index in sorted(told - {machines.index}))
        raise ComponentError(
            f"{machines.addresses[machines.index]} has lost {lost or 'a machine'}, which trains "
            "with it: look there for the reason, then start all of them again"
        ) from error
