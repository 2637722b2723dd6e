"""The exceptions of this room; their exit status is that of UserError."""

from data.contract.errors import UserError


class DataError(UserError):
    """The photos cannot be used; the message is one line that names the bad value and the fix."""


class MemoryShortageError(DataError):
    """A photo cannot be decoded now, which says nothing about the photo."""
