"""Remote artifacts (`gs://…`) for code that knows local paths alone.

What is local is used where it lies.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf
from tfx.utils import io_utils


def is_remote(uri: str) -> bool:
    """Whether a URI is no local path."""
    return "://" in uri


@contextmanager
def readable(uri: str) -> Iterator[Path]:
    """A file or folder as a local path: itself, or a copy that goes when the block ends.

    Args:
        uri: local or remote; a copy has the same name.

    Raises:
        tf.errors.OpError: a remote file cannot be read.
    """
    if not is_remote(uri):
        yield Path(uri)
        return
    with _temporary(uri) as local:
        if tf.io.gfile.isdir(uri):
            io_utils.copy_dir(uri, str(local))
        else:
            tf.io.gfile.copy(uri, str(local))
        yield local


@contextmanager
def writable(uri: str) -> Iterator[Path]:
    """Where to write a folder: itself, or a local path whose content replaces it at the end.

    Nothing remote changes when the block raises.

    Args:
        uri: local or remote.

    Raises:
        tf.errors.OpError: a remote folder cannot be written.
    """
    if not is_remote(uri):
        yield Path(uri)
        return
    with _temporary(uri) as local:
        yield local
        io_utils.copy_dir(str(local), uri)


@contextmanager
def _temporary(uri: str) -> Iterator[Path]:
    """A path of the same name, where nothing is yet."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / uri.rstrip("/").rpartition("/")[2]
