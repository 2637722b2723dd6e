"""Errors that a user can mend, and what the command line ends with."""

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
