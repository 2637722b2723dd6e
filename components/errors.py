"""The one exception of this room."""

from data.contract.errors import UserError


class ComponentError(UserError):
    """A node cannot go on; the message is one line that names the bad value and the fix."""
