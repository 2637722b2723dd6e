"""Files that a reader sees whole or not at all."""

import os
from pathlib import Path


def write_whole(file: Path, content: bytes, unfinished: Path) -> None:
    """Writes a file so that a reader sees the old one or the new one, never half of one.

    When this returns, the new one is on the disk; if it raises, the old one is still there.

    Args:
        file: what is written.
        content: of the new one.
        unfinished: where it is written first, on the same disk: a kill may leave it.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with unfinished.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    unfinished.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # or the name may not outlive a power cut
    finally:
        os.close(folder)
