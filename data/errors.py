"""The one exception of this room."""


class DataError(Exception):
    """The photos cannot be used; the message is one line that names the bad value and the fix."""
