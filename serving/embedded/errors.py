"""What can be wrong with the set-up of the server."""

from data.contract.errors import UsageError, UserError


class ServerError(UserError):
    """The server cannot start; the message is one line that names the bad value and the fix."""


class ServerConfigError(UsageError):
    """A file or an option of the server is wrong; the message names it, the value and the fix."""
