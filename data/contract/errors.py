"""Errors that a user can mend, and what the command line ends with."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """What the exit status says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BLOCKED = 3
    INTERRUPTED = 130


class UserError(Exception):
    """Something is wrong that a user can mend.

    The message is one line that names the bad value and the fix; the command line prints it and
    ends with `exit_status`.
    """

    exit_status: ClassVar[Exit] = Exit.FAILED


class UsageError(UserError):
    """A command, an option or a setting is wrong."""

    exit_status = Exit.USAGE


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
