"""The one exception of this room."""

from data.contract.errors import UserError


class DataError(UserError):
    """The photos cannot be used; the message is one line that names the bad value and the fix."""
