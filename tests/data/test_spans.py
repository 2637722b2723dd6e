import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from data import spans
from data.errors import DataError

WRITER = """
import sys, time
from pathlib import Path
from data import spans
with spans.claim(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("written")
    print("writing", flush=True)
    time.sleep(60)
"""


@contextmanager
def other_writer(out: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of writing to `out`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(out)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        try:
            yield process
        finally:
            process.kill()


def test_spans_count_upwards(tmp_path: Path) -> None:
    assert spans.find_newest(tmp_path) is None
    for number in range(1, 12):
        with spans.claim(tmp_path) as folder:
            (folder / "span").mkdir()
            assert spans.commit(folder / "span", tmp_path) == tmp_path / f"span-{number}"
    assert spans.find_newest(tmp_path) == tmp_path / "span-11"
    assert not list(tmp_path.glob(".*"))


def test_what_is_only_named_like_a_span_is_none(tmp_path: Path) -> None:
    names = ["span-3.bak", "span-03", "span-4 (copy)", "span-x", "span-\u0663", "span-0", "span--5"]
    for name in ("span-2", *names):
        (tmp_path / name).mkdir()
    assert spans.find_newest(tmp_path) == tmp_path / "span-2"
    (tmp_path / "span-7").touch()
    (tmp_path / "span-8").symlink_to(tmp_path / "gone")
    assert spans.find_newest(tmp_path) == tmp_path / "span-2"
    with spans.claim(tmp_path) as folder:
        (folder / "span").mkdir()
        assert spans.commit(folder / "span", tmp_path) == tmp_path / "span-9"


def test_empty_span_is_not_passed_over(tmp_path: Path) -> None:
    """A number that was given once must not become older than what follows."""
    (tmp_path / "span-2").mkdir()
    (tmp_path / "span-9").mkdir()
    newest = spans.find_newest(tmp_path)
    assert newest == tmp_path / "span-9"
    with pytest.raises(DataError, match=r"span-9/manifest\.json is missing or damaged: delete"):
        spans.read_manifest(newest)


def test_second_writer_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(DataError, match="another run is writing to")
    with other_writer(tmp_path), refused, spans.claim(tmp_path):
        pytest.fail("two runs write to one folder")


def test_killed_writer_leaves_no_span_and_does_not_block_the_next(tmp_path: Path) -> None:
    with other_writer(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.glob("*/half"))
    assert spans.find_newest(tmp_path) is None
    with spans.claim(tmp_path) as folder:
        assert not list(folder.iterdir())
    assert not list(tmp_path.iterdir())


def test_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with spans.claim(tmp_path) as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"input": "the same"}'])
def test_damaged_manifest_says_what_to_do(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(
        DataError, match=r"manifest.json is missing or damaged: delete .* run again"
    ):
        spans.read_manifest(tmp_path)
