"""What can be wrong with the set-up of the server."""


class ServerError(Exception):
    """The server cannot start; the message is one line that names the bad value and the fix."""
