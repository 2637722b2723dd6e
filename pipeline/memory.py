"""How much memory this process holds at its peak, between two moments."""

import re
import threading
from pathlib import Path

_STATUS = Path("/proc/self/status")
_INTERVAL = 0.1
"""Seconds between two looks."""


class PeakMemory:
    """Looks at the memory of this process again and again, in a thread.

    The kernel keeps the highest value since the process began. Where that does not rise, what is
    seen ten times a second is all there is: a shorter peak is missed.
    """

    def __init__(self) -> None:
        """Begins to look."""
        self._before = _resident("VmHWM")
        self._seen = _resident("VmRSS")
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="peak-memory", daemon=True)
        if self._before is not None:
            self._thread.start()

    def stop(self) -> float | None:
        """The peak in MB (10^6 bytes) since the beginning; None where the kernel does not tell."""
        if self._before is None:
            return None
        self._end.set()
        self._thread.join()
        highest = _resident("VmHWM")
        if highest is not None and highest > self._before:
            return highest
        return self._seen

    def _look(self) -> None:
        while not self._end.wait(_INTERVAL):
            now = _resident("VmRSS")
            if now is not None:
                self._seen = max(self._seen or 0, now)


def _resident(key: str) -> float | None:
    """A figure of this process in MB; None where there is no such file."""
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 / 1e6 if found else None
