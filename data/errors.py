"""The exceptions of this room."""


class DataError(Exception):
    """The photos cannot be used; the message is one line that names the bad value and the fix."""


class MemoryShortageError(DataError):
    """A photo cannot be decoded now, which says nothing about the photo."""
