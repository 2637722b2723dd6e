import pytest

from data.contract.progress import tenths, watched_by, watching


def test_photos_are_counted_by_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    tell = tenths("read")
    for done in range(1, 2_001):
        tell(done, 2_000)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "read 200 of 2,000"
    assert lines[-1] == "read 2,000 of 2,000"
    assert len(lines) == 10


def test_a_few_photos_are_counted_without_saying_a_number_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell = tenths("read")
    for done in range(1, 4):
        tell(done, 3)
    assert capsys.readouterr().out.splitlines() == ["read 1 of 3", "read 2 of 3", "read 3 of 3"]


def test_whoever_watches_hears_of_everything_and_nothing_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard: list[tuple[str, int, int]] = []
    with watched_by(lambda *count: heard.append(count)):
        tell = tenths("read")
        for done in range(1, 4):
            tell(done, 300)
    assert heard == [("read", 1, 300), ("read", 2, 300), ("read", 3, 300)]
    assert capsys.readouterr().out == ""
    assert watching() is None
