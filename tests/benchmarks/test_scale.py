import pytest

from benchmarks import scale
from benchmarks.processes import Measured


def test_a_row_tells_what_each_further_photo_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "PHOTOS", (1_000, 2_000, 4_000))
    measured = [Measured(1.04, 5.0, 100.4), Measured(2.0, 7.0, 200.0), Measured(4.0, 12.0, 300.6)]
    row = scale._row("Transform", measured)
    assert row.cpu_ms_a_photo == (2.0, 2.5)
    assert row.times == 1.25
    assert row.seconds == (1.0, 2.0, 4.0)
    assert row.peak_mb == (100, 200, 301)
    assert str(row).split() == ["Transform", "2.00", "2.50", "1.25", "100", "200", "301"]
