"""TensorFlow without its noise on the terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_tensorflow() -> Any:
    """TensorFlow, imported when first needed (it takes seconds) and without its log noise.

    A TF_CPP_MIN_LOG_LEVEL set by the user is obeyed, and shows everything it asks for.
    """
    if _LOG_LEVEL in os.environ:
        import tensorflow
    else:
        os.environ[_LOG_LEVEL] = "3"
        with _native_stderr_hidden():
            import tensorflow
        tensorflow.get_logger().setLevel("ERROR")  # its advice is for us, not for the user
    return tensorflow


@contextmanager
def _native_stderr_hidden() -> Iterator[None]:
    """Drop what C++ writes to file descriptor 2 meanwhile.

    On a machine with no GPU, TensorFlow's libraries log so before they read their log level.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # closed: there is nothing to hide
        yield
        return
    try:
        with TemporaryFile() as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
