"""Progress of long work: to whoever watches, or as a line at every tenth of the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

Tell = Callable[[int, int], None]
"""Takes how many are done, and of how many."""

Watch = Callable[[str, int, int], None]
"""Takes what is counted as well."""

_watches: list[Watch] = []


@contextmanager
def watched_by(watch: Watch) -> Iterator[None]:
    """Progress that begins within the block goes to `watch`."""
    _watches.append(watch)
    try:
        yield
    finally:
        _watches.remove(watch)


def watching() -> Watch | None:
    """Whoever watches; None if nobody does, and lines should be printed."""
    return _watches[-1] if _watches else None


def tenths(label: str) -> Tell:
    """Tells whoever watches, or prints at every tenth, how many are done and of how many."""
    if watch := watching():
        return partial(watch, label)
    said = 0

    def tell(done: int, total: int) -> None:
        nonlocal said
        if done * 10 // total > said:
            said = done * 10 // total
            print(f"{label} {done:,} of {total:,}", flush=True)

    return tell
