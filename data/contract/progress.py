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


class StepCounter:
    """Counts what the steps of a Beam pipeline have done, for whoever watches.

    Beam pickles the functions of a pipeline; a callback would not survive that, a name in a
    module does as long as the workers share this process. Elsewhere nothing is counted.
    """

    def __init__(self) -> None:
        self.start(0, lambda done, total: None)

    def start(self, total: int, tell: Tell) -> None:
        """Begins at 0 of `total`."""
        self._done, self._total, self._tell = 0, total, tell

    def add(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        self._tell(self._done, self._total)
