"""Remote artifacts (`gs://…`) for code that knows only local paths.

What is local is used where it lies.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf


def is_remote(uri: str) -> bool:
    """Whether a URI is anything but a local path."""
    return "://" in uri


def copy_folder(source: str, target: str) -> None:
    """Copies a folder, local or remote, replacing what the target held before.

    Raises:
        tf.errors.OpError: a file cannot be read or written.
    """
    source, target = source.rstrip("/"), target.rstrip("/")
    if tf.io.gfile.exists(target):
        tf.io.gfile.rmtree(target)
    for folder, _, files in tf.io.gfile.walk(source):
        below = folder.removeprefix(source).rstrip("/")
        tf.io.gfile.makedirs(target + below)
        for name in files:
            tf.io.gfile.copy(f"{source}{below}/{name}", f"{target}{below}/{name}")


@contextmanager
def readable(uri: str) -> Iterator[Path]:
    """A file or folder as a local path: itself, or a copy that is deleted when the block ends.

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
            copy_folder(uri, str(local))
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
        copy_folder(str(local), uri)


@contextmanager
def _temporary(uri: str) -> Iterator[Path]:
    """A path with the same name, where nothing exists yet."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / uri.rstrip("/").rpartition("/")[2]
