"""What can be wrong with a model that is asked."""


class ModelError(Exception):
    """A model cannot be used; the message is one line that names the bad value and the fix."""
