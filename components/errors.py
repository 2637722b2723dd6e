"""The one exception of this room."""


class ComponentError(Exception):
    """A node cannot go on; the message is one line that names the bad value and the fix."""
