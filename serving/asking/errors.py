"""What can be wrong with a model that is asked."""

from data.contract.errors import UserError


class ModelError(UserError):
    """A model cannot be used; the message is one line that names the bad value and the fix."""
