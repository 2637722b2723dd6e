"""Requests that wait at the same time are answered by one call of the model."""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.embedded.servable import Servable, Signature, Tensor
from serving.embedded.status import Code, RequestError, invalid


@dataclass(frozen=True)
class BatchingParameters:
    """TF Serving's parameters of the same names, with its defaults."""

    max_batch_size: int = 1000
    """Instances in a batch; a larger request is refused where requests are split, and elsewhere a
    batch of its own."""
    batch_timeout_micros: int = 0
    """Microseconds that a request waits for others, from its arrival."""
    max_enqueued_batches: int = 10
    """Of full size; beyond that requests are refused with UNAVAILABLE."""
    num_batch_threads: int = 1
    enable_large_batch_splitting: bool = False
    """Whether requests of up to `max_batch_size` are answered in several batches."""
    max_execution_batch_size: int | None = None
    """Instances in a batch where requests are split; by default `max_batch_size`."""

    @property
    def batch_size(self) -> int:
        """The most instances that are brought together."""
        split = self.enable_large_batch_splitting and self.max_execution_batch_size
        return split or self.max_batch_size


@dataclass
class _Task:
    """A request that waits."""

    name: str
    feeds: Mapping[str, Tensor]
    size: int
    due: float
    """When it has waited long enough for others, by `time.monotonic`."""
    answer: Future[dict[str, Tensor]] = field(default_factory=Future)

    @property
    def kind(self) -> object:
        """Tasks of one kind can share a batch."""
        shapes = tuple((key, feed.dtype.str, feed.shape[1:]) for key, feed in self.feeds.items())
        return self.name, shapes


class Batched:
    """A servable whose calls are batched.

    A batch that fails is answered again request by request, so that a bad one does not take its
    neighbours down with it.
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
            RequestError: the call fails, it is larger than may be split, too many wait already, or
                this is closed.
        """
        sizes = {feed.shape[0] if feed.ndim else None for feed in feeds.values()}
        size = sizes.pop()
        if sizes or not size:
            return self._servable.run(name, feeds)
        limit = self._parameters.max_batch_size
        if self._parameters.enable_large_batch_splitting and size > limit:
            raise invalid(f"Task size {size} is larger than maximum input batch size {limit}")
        due = time.monotonic() + self._parameters.batch_timeout_micros / 1e6
        tasks = self._tasks(name, feeds, size, due)
        room = self._parameters.max_enqueued_batches * self._parameters.batch_size
        with self._changed:
            if self._closed:  # no thread is there to answer
                raise RequestError(Code.UNAVAILABLE, "This version is no longer served")
            if self._waiting and sum(each.size for each in self._waiting) + size > room:
                raise RequestError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            self._waiting.extend(tasks)
            self._changed.notify(len(tasks))
        answers = [task.answer.result() for task in tasks]
        if len(tasks) == 1:
            return answers[0]
        if any(
            not _is_each(answer, task.size) for task, answer in zip(tasks, answers, strict=True)
        ):
            return self._servable.run(name, feeds)
        return {key: np.concatenate([answer[key] for answer in answers]) for key in answers[0]}

    def _tasks(self, name: str, feeds: Mapping[str, Tensor], size: int, due: float) -> list[_Task]:
        """A request as a task, or split into several."""
        step = (
            self._parameters.batch_size if self._parameters.enable_large_batch_splitting else size
        )
        return [
            _Task(
                name,
                {key: feed[start : start + step] for key, feed in feeds.items()},
                min(step, size - start),
                due,
            )
            for start in range(0, size, step)
        ]

    def close(self) -> None:
        """Answers those who still wait, refuses all others from now on, and frees the servable."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._servable.close()

    def _work(self) -> None:
        for batch in iter(self._next_batch, None):
            self._answer(batch)

    def _next_batch(self) -> list[_Task] | None:
        """Waits for the tasks of the next batch; None when this is closed and nobody waits."""
        with self._changed:
            while self._waiting or not self._closed:
                seconds = self._seconds_to_wait() if self._waiting else None
                if seconds is None or seconds > 0:
                    self._changed.wait(seconds)
                    continue
                batch = self._take()
                if self._waiting:  # the thread that was told of these may be this one
                    self._changed.notify()
                return batch
        return None

    def _seconds_to_wait(self) -> float:
        """How long the oldest task has to wait for others yet."""
        size = sum(task.size for task in self._waiting)
        if self._closed or size >= self._parameters.batch_size:
            return 0
        return min(self._waiting[0].due - time.monotonic(), threading.TIMEOUT_MAX)

    def _take(self) -> list[_Task]:
        """Takes the oldest task and those of its kind that fit beside it."""
        first = self._waiting[0]
        batch: list[_Task] = []
        left: deque[_Task] = deque()
        size = 0
        for task in self._waiting:
            fits = not batch or size + task.size <= self._parameters.batch_size
            if fits and task.kind == first.kind:
                batch.append(task)
                size += task.size
            else:
                left.append(task)
        self._waiting = left
        return batch

    def _answer(self, batch: Sequence[_Task]) -> None:
        answers = self._run_together(batch) if len(batch) > 1 else None
        if answers is None:
            for task in batch:
                self._answer_alone(task)
            return
        for task, answer in zip(batch, answers, strict=True):
            task.answer.set_result(answer)

    def _answer_alone(self, task: _Task) -> None:
        try:
            task.answer.set_result(self._servable.run(task.name, task.feeds))
        except BaseException as error:  # whoever waits has to hear of it
            task.answer.set_exception(error)

    def _run_together(self, batch: Sequence[_Task]) -> list[dict[str, Tensor]] | None:
        """The answers of one call; None if it fails or does not give one for each instance."""
        ends = np.cumsum([task.size for task in batch])
        try:
            feeds = {
                key: np.concatenate([task.feeds[key] for task in batch]) for key in batch[0].feeds
            }
            outputs = self._servable.run(batch[0].name, feeds)
            if not _is_each(outputs, ends[-1]):
                return None
            parts = {key: np.split(output, ends[:-1]) for key, output in outputs.items()}
        except BaseException:  # whose fault it is comes out when each is answered alone
            return None
        return [{key: part[index] for key, part in parts.items()} for index in range(len(batch))]


def _is_each(outputs: Mapping[str, Tensor], size: int) -> bool:
    """Whether every output has a part for each of `size` instances."""
    return all(output.ndim > 0 and len(output) == size for output in outputs.values())
