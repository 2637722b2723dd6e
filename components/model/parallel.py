"""Forward passes that run at the same time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_FORWARD_PASSES = 3
"""How many run at the same time."""

Result = TypeVar("Result")


def in_parallel(
    function: Callable[..., Result], batches: Iterable[tuple[object, ...]]
) -> Iterator[Result]:
    """Maps in a few threads, keeping the order: a core that waits in one call works in another.

    tf.data could do it too, but does not optimize the graph of the function.

    Args:
        function: takes what a batch holds, one argument each.
        batches: read ahead of the results by no more than what runs at the same time.
    """
    with ThreadPoolExecutor(_FORWARD_PASSES) as pool:
        running: deque[Future[Result]] = deque()
        for batch in batches:
            running.append(pool.submit(function, *batch))
            if len(running) == _FORWARD_PASSES:
                yield running.popleft().result()
        for call in running:
            yield call.result()
