import threading
import time

import numpy as np

from pipeline.memory import PeakMemory

MB = 1_000_000


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_the_peak_is_what_was_held_at_once_even_if_it_is_gone_at_the_end() -> None:
    before = PeakMemory().stop()
    peak = PeakMemory()
    held = np.ones(200 * MB // 8)
    time.sleep(0.3)
    del held
    after = peak.stop()
    assert before is not None
    assert after is not None
    assert 150 < after - before < 400


def test_the_peak_of_a_later_part_is_not_that_of_an_earlier_one() -> None:
    earlier = PeakMemory()
    held = np.ones(300 * MB // 8)
    time.sleep(0.2)
    del held
    most = earlier.stop()
    later = PeakMemory().stop()
    assert most is not None
    assert later is not None
    assert most - later > 200


def test_nothing_looks_on_afterwards() -> None:
    peak = PeakMemory()
    assert "peak-memory" in names()
    peak.stop()
    assert "peak-memory" not in names()
