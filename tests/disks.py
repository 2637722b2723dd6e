"""Disks that are soon full."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[bool]:
    """Mounts a small disk on a folder; says whether this user may.

    Args:
        folder: empty.
        size: as `mount` takes it.
    """
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        yield False
        return
    yield True
    # Lazily: MLMD closes its database when Python happens to collect the store.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
