"""What passes between the steps of a Beam pipeline and those who wait for it: counts and errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from data.contract.errors import UserError
from data.contract.progress import Tell


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


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it followed from, the last first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def step_errors_raised() -> Iterator[None]:
    """Raises what a step of Beam raised, where that says more than what Beam raises.

    Beam logs it, and raises something else that follows from it: a full disk and Ctrl-C both come
    back as RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        known = (UserError, OSError, KeyboardInterrupt)
        raise next((cause for cause in causes(error) if isinstance(cause, known)), error) from None
