"""What can be wrong with a model or with the set-up of the server."""


class ModelError(Exception):
    """A model cannot be used; the message is one line that names the bad value and the fix."""


class ServerError(Exception):
    """The server cannot start; the message is one line that names the bad value and the fix."""
