"""Progress of long work, counted and said at every tenth of the way."""

from collections.abc import Callable

Tell = Callable[[int, int], None]
"""Takes how many are done, and of how many."""


def tenths(label: str) -> Tell:
    """Prints how many of how many are done, at every tenth of the way."""
    said = 0

    def tell(done: int, total: int) -> None:
        nonlocal said
        if done * 10 // total > said:
            said = done * 10 // total
            print(f"{label} {done:,} of {total:,}", flush=True)

    return tell
