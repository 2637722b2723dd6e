"""Batching: who shares a call, who is refused, and who suffers from whom."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from serving.embedded.batching import Batched, BatchingParameters
from serving.embedded.servable import Signature, Tensor
from serving.embedded.status import Code, RequestError, invalid

Answer = Future[dict[str, Tensor]]


class Doubler:
    """Doubles x, refuses negative numbers, and waits for `go` before each call."""

    signatures: Mapping[str, Signature] = {}

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.entered = threading.Event()
        self.closed = False

    def run(self, name: str, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.entered.set()
        assert self.go.wait(60)
        x = feeds["x"]
        self.sizes.append(len(x))
        if (x < 0).any():
            raise invalid("negative")
        if name == "total":
            return {"total": x.sum(keepdims=False)}
        if name == "mixed":
            return {"certain": x > 2, "map": np.broadcast_to(x[:, None, None], (len(x), 7, 7))}
        return {"twice": x * 2}

    def describe(self) -> dict[str, Any]:
        return {"x": "y"}

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


def ask_behind_a_call(
    doubler: Doubler, parameters: BatchingParameters, *requests: tuple[str, Tensor]
) -> list[Answer]:
    """Answers to requests that wait together while a first one is being answered."""
    batched = Batched(doubler, parameters)
    with ThreadPoolExecutor(len(requests) + 1) as pool:

        def ask(name: str, x: Tensor) -> Answer:
            before = len(batched._waiting)
            answer = pool.submit(batched.run, name, {"x": x})
            while len(batched._waiting) == before and not answer.done():
                pass
            return answer

        pool.submit(batched.run, "f", {"x": np.zeros(1)})
        assert doubler.entered.wait(60)
        answers = [ask(*request) for request in requests]
        doubler.go.set()
    batched.close()
    assert doubler.closed
    return answers


def column(*values: float) -> Tensor:
    return np.array(values, np.float32)


def test_requests_that_wait_share_a_call(doubler: Doubler) -> None:
    parts = [column(1), column(2, 3), column(4)]
    answers = ask_behind_a_call(doubler, BatchingParameters(), *(("f", part) for part in parts))
    assert doubler.sizes == [1, 4]
    for part, answer in zip(parts, answers, strict=True):
        np.testing.assert_array_equal(answer.result()["twice"], part * 2)


def test_outputs_of_any_type_and_shape_are_divided(doubler: Doubler) -> None:
    answers = ask_behind_a_call(
        doubler, BatchingParameters(), ("mixed", column(1, 3)), ("mixed", column(4))
    )
    assert doubler.sizes == [1, 3]
    first, second = (answer.result() for answer in answers)
    assert first["certain"].tolist() == [False, True]
    assert first["map"].tolist() == [np.full((7, 7), 1).tolist(), np.full((7, 7), 3).tolist()]
    assert second["certain"].tolist() == [True]
    assert second["map"].tolist() == [np.full((7, 7), 4).tolist()]


def test_a_bad_request_fails_alone(doubler: Doubler) -> None:
    good, bad, other = ask_behind_a_call(
        doubler,
        BatchingParameters(),
        ("f", column(1)),
        ("f", column(-1)),
        ("f", column(2)),
    )
    assert good.result()["twice"].tolist() == [2]
    assert other.result()["twice"].tolist() == [4]
    with pytest.raises(RequestError, match="negative"):
        bad.result()


@pytest.mark.parametrize(
    "other",
    [("g", column(2)), ("f", np.ones([1, 2], np.float32)), ("f", np.ones(1, np.float64))],
    ids=["signature", "shape", "type"],
)
def test_requests_of_two_kinds_have_calls_of_their_own(
    doubler: Doubler, other: tuple[str, Tensor]
) -> None:
    answers = ask_behind_a_call(doubler, BatchingParameters(), ("f", column(1)), other)
    assert doubler.sizes == [1, 1, 1]
    for answer in answers:
        answer.result()


def test_a_batch_is_no_larger_than_allowed(doubler: Doubler) -> None:
    ask_behind_a_call(
        doubler,
        BatchingParameters(max_batch_size=3),
        ("f", column(1, 2)),
        ("f", column(1, 2)),
        ("f", column(1)),
    )
    assert doubler.sizes == [1, 3, 2]


def test_a_request_larger_than_a_batch_is_answered(doubler: Doubler) -> None:
    (answer,) = ask_behind_a_call(
        doubler, BatchingParameters(max_batch_size=2), ("f", column(*range(9)))
    )
    assert len(answer.result()["twice"]) == 9


SPLIT = BatchingParameters(
    max_batch_size=9, enable_large_batch_splitting=True, max_execution_batch_size=4
)


def test_a_large_request_is_split_into_batches_and_its_answers_are_put_together(
    doubler: Doubler,
) -> None:
    large, small = ask_behind_a_call(
        doubler, SPLIT, ("mixed", column(*range(9))), ("mixed", column(1, 3))
    )
    assert doubler.sizes == [1, 4, 4, 3]
    assert large.result()["certain"].tolist() == [number > 2 for number in range(9)]
    assert large.result()["map"][:, 6, 6].tolist() == [*range(9)]
    assert small.result()["certain"].tolist() == [False, True]


def test_what_is_larger_than_may_be_split_is_refused_as_in_tf_serving(doubler: Doubler) -> None:
    most, more = ask_behind_a_call(
        doubler, SPLIT, ("f", column(*range(9))), ("f", column(*range(10)))
    )
    assert len(most.result()["twice"]) == 9
    with pytest.raises(RequestError) as caught:
        more.result()
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "Task size 10 is larger than maximum input batch size 9"


def test_a_large_request_with_a_bad_part_fails(doubler: Doubler) -> None:
    (answer,) = ask_behind_a_call(doubler, SPLIT, ("f", column(1, 2, 3, 4, 5, -6)))
    with pytest.raises(RequestError, match="negative"):
        answer.result()


def test_a_large_request_whose_output_cannot_be_put_together_is_answered_whole(
    doubler: Doubler,
) -> None:
    (answer,) = ask_behind_a_call(doubler, SPLIT, ("total", column(*range(9))))
    assert float(answer.result()["total"]) == 36


def test_an_output_that_cannot_be_divided_is_computed_for_each(doubler: Doubler) -> None:
    answers = ask_behind_a_call(
        doubler, BatchingParameters(), ("total", column(1, 2)), ("total", column(4))
    )
    assert [float(answer.result()["total"]) for answer in answers] == [3, 4]


def test_a_full_queue_refuses(doubler: Doubler) -> None:
    parameters = BatchingParameters(max_batch_size=1, max_enqueued_batches=2)
    *answers, refused = ask_behind_a_call(doubler, parameters, *[("f", column(1))] * 3)
    with pytest.raises(RequestError, match="queue") as caught:
        refused.result()
    assert caught.value.code is Code.UNAVAILABLE
    for answer in answers:
        answer.result()


def test_others_are_waited_for_no_longer_than_allowed(doubler: Doubler) -> None:
    doubler.go.set()
    batched = Batched(doubler, BatchingParameters(batch_timeout_micros=1000))
    assert batched.run("f", {"x": column(1)})["twice"].tolist() == [2]
    batched.close()


@pytest.mark.parametrize("x", [np.float32(1), np.zeros([0], np.float32)], ids=["scalar", "empty"])
def test_what_has_no_batch_passes_through(doubler: Doubler, x: Any) -> None:
    doubler.go.set()
    batched = Batched(doubler, BatchingParameters())
    doubler.run = lambda name, feeds: {"same": feeds["x"]}  # type: ignore[method-assign]
    assert batched.run("f", {"x": np.asarray(x)})["same"].shape == np.shape(x)
    batched.close()


def test_the_rest_is_the_servables(doubler: Doubler) -> None:
    batched = Batched(doubler, BatchingParameters())
    assert batched.describe() == {"x": "y"}
    assert batched.signatures is doubler.signatures
    batched.close()


def test_unexpected_errors_reach_those_who_wait(doubler: Doubler) -> None:
    doubler.go.set()
    batched = Batched(doubler, BatchingParameters())

    def fail(name: str, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise OSError("disk")

    run: Callable[..., dict[str, Tensor]] = fail
    doubler.run = run  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk"):
        batched.run("f", {"x": column(1)})
    batched.close()


class Meeting(Doubler):
    """A Doubler whose calls of a signature named "meet" wait until that many run at once."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.go.set()
        self.barrier = threading.Barrier(calls, timeout=10)

    def run(self, name: str, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if name.startswith("meet"):
            self.barrier.wait()
        return super().run(name, feeds)


def test_after_many_requests_as_many_calls_run_at_once_as_before() -> None:
    threads, clients = 8, 16
    meeting = Meeting(threads)
    batched = Batched(
        meeting, BatchingParameters(batch_timeout_micros=2000, num_batch_threads=threads)
    )
    with ThreadPoolExecutor(clients) as pool:
        for answer in [pool.submit(batched.run, "f", {"x": column(1)}) for _ in range(400)]:
            assert answer.result(60)["twice"].tolist() == [2]
        together = [
            pool.submit(batched.run, f"meet {kind}", {"x": column(1)}) for kind in range(threads)
        ]
        for answer in together:
            assert answer.result(60)["twice"].tolist() == [2]
    batched.close()


def test_a_full_batch_waits_for_nobody(doubler: Doubler) -> None:
    doubler.go.set()
    batched = Batched(doubler, BatchingParameters(max_batch_size=2, batch_timeout_micros=10**18))
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(batched.run, "f", {"x": column(1)}) for _ in range(2)]
        for answer in answers:
            answer.result(60)
    assert doubler.sizes == [2]
    batched.close()


def in_a_thread(work: Callable[[], object]) -> list[BaseException]:
    """What a call raised, which has to end."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits for ever"
    return raised


class Unbatchable(Doubler):
    """A Doubler that fails, in ways of its own, when it is asked for several at once."""

    def __init__(self, failure: Callable[[], Any]) -> None:
        super().__init__()
        self.failure = failure

    def run(self, name: str, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        answer = super().run(name, feeds)
        return answer if len(feeds["x"]) == 1 else self.failure()


def fail() -> Any:
    raise MemoryError("too many at once")


@pytest.mark.parametrize("failure", [fail, lambda: {"twice": [2, 4]}, lambda: None])
def test_whatever_goes_wrong_with_a_batch_each_is_answered_alone(
    failure: Callable[[], Any],
) -> None:
    unbatchable = Unbatchable(failure)

    def ask() -> None:
        answers = ask_behind_a_call(
            unbatchable, BatchingParameters(), ("f", column(1)), ("f", column(2))
        )
        assert [answer.result()["twice"].tolist() for answer in answers] == [[2], [4]]

    assert not in_a_thread(ask)


def test_who_waits_at_the_close_is_answered_and_who_comes_after_it_refused(
    doubler: Doubler,
) -> None:
    doubler.go.set()
    batched = Batched(doubler, BatchingParameters(batch_timeout_micros=60_000_000))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batched.run, "f", {"x": column(1)})
        while not batched._waiting:
            pass
        batched.close()
        assert waiting.result(60)["twice"].tolist() == [2]
    (error,) = in_a_thread(lambda: batched.run("f", {"x": column(1)}))
    assert isinstance(error, RequestError)
    assert error.code is Code.UNAVAILABLE
