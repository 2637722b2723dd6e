"""Requests that wait at the same time are answered by one call of the model."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.servable import Servable, Signature, Tensor
from serving.status import Code, RequestError


@dataclass(frozen=True)
class BatchingParameters:
    """TF Serving's parameters of the same names, with its defaults."""

    max_batch_size: int = 1000
    """Instances in a batch; a request of more is a batch of its own."""
    batch_timeout_micros: int = 0
    """Microseconds that a request waits for others when a thread is free."""
    max_enqueued_batches: int = 10
    """Of full size; beyond that requests are refused with UNAVAILABLE."""
    num_batch_threads: int = 1


@dataclass
class _Task:
    """A request that waits."""

    name: str
    feeds: Mapping[str, Tensor]
    size: int
    answer: Future[dict[str, Tensor]] = field(default_factory=Future)

    @property
    def kind(self) -> object:
        """Tasks of one kind can share a batch."""
        shapes = tuple((key, feed.dtype.str, feed.shape[1:]) for key, feed in self.feeds.items())
        return self.name, shapes


class Batched:
    """A servable whose calls are batched.

    A batch that fails is answered again request by request, so that one with a bad photo does not
    take its neighbours along.
    """

    def __init__(self, servable: Servable, parameters: BatchingParameters) -> None:
        self._servable = servable
        self._parameters = parameters
        self._waiting: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"batching-{index}")
            for index in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What it can be asked, by name."""
        return self._servable.signatures

    def describe(self) -> dict[str, Any]:
        """The signatures as the metadata holds them."""
        return self._servable.describe()

    def run(self, name: str, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Calls a signature, together with others where that can be.

        Raises:
            RequestError: the call fails, or too many wait already.
        """
        sizes = {feed.shape[0] if feed.ndim else None for feed in feeds.values()}
        size = sizes.pop()
        if sizes or not size:
            return self._servable.run(name, feeds)
        task = _Task(name, feeds, size)
        room = self._parameters.max_enqueued_batches * self._parameters.max_batch_size
        with self._changed:
            if self._waiting and sum(each.size for each in self._waiting) + size > room:
                raise RequestError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            self._waiting.append(task)
            self._changed.notify()
        return task.answer.result()

    def close(self) -> None:
        """Frees the servable; nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._servable.close()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)

    def _next_batch(self) -> list[_Task]:
        """The tasks of the next batch; none when this is closed."""
        timeout = self._parameters.batch_timeout_micros / 1e6
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if timeout and self._waiting:
                most = self._parameters.max_batch_size
                self._changed.wait_for(
                    lambda: self._closed or sum(task.size for task in self._waiting) >= most,
                    timeout,
                )
            if not self._waiting:
                return []
            return self._take()

    def _take(self) -> list[_Task]:
        """Takes the oldest task and those of its kind that fit beside it."""
        first = self._waiting[0]
        batch: list[_Task] = []
        left: deque[_Task] = deque()
        size = 0
        for task in self._waiting:
            fits = not batch or size + task.size <= self._parameters.max_batch_size
            if fits and task.kind == first.kind:
                batch.append(task)
                size += task.size
            else:
                left.append(task)
        self._waiting = left
        return batch

    def _answer(self, batch: Sequence[_Task]) -> None:
        if len(batch) > 1:
            try:
                answers = self._run_together(batch)
            except RequestError:
                answers = None
            if answers is not None:
                for task, answer in zip(batch, answers, strict=True):
                    task.answer.set_result(answer)
                return
        for task in batch:
            try:
                task.answer.set_result(self._servable.run(task.name, task.feeds))
            except BaseException as error:  # whoever waits has to hear of it
                task.answer.set_exception(error)

    def _run_together(self, batch: Sequence[_Task]) -> list[dict[str, Tensor]] | None:
        """The answers of one call; None if its outputs are not one for each instance."""
        feeds = {key: np.concatenate([task.feeds[key] for task in batch]) for key in batch[0].feeds}
        outputs = self._servable.run(batch[0].name, feeds)
        ends = np.cumsum([task.size for task in batch])
        if any(output.ndim == 0 or len(output) != ends[-1] for output in outputs.values()):
            return None
        parts = {key: np.split(output, ends[:-1]) for key, output in outputs.items()}
        return [{key: part[index] for key, part in parts.items()} for index in range(len(batch))]
