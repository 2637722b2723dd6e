"""What is said about a weights file: its hash, and in one line why it cannot be used."""

import hashlib
import textwrap
from pathlib import Path


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def one_line(error: Exception) -> str:
    """An error's message on one line of bounded length, or its type if it says nothing."""
    return textwrap.shorten(str(error), 200) or type(error).__name__
