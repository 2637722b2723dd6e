import multiprocessing
import os
import resource
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data import relabels
from data.errors import DataError
from data.relabels import Relabel

HEADER = "sha256,from,to,reason,when"
WHEN = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
A, B = "a" * 64, "b" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relabels.csv"


def decision(sha256: str = A, before: str = "sad", to: str = "happy", reason: str = "") -> Relabel:
    return Relabel(sha256, before, to, reason, WHEN)


def test_the_table_lies_beside_the_classes_or_beside_the_csv(tmp_path: Path) -> None:
    assert relabels.default_file(tmp_path) == tmp_path / "relabels.csv"
    assert relabels.default_file(tmp_path / "dogs.csv") == tmp_path / "relabels.csv"


def test_without_a_table_nothing_is_decided(file: Path) -> None:
    assert relabels.read(file).rows == {}
    file.touch()
    assert relabels.read(file).rows == {}


def test_what_is_added_is_read_again(file: Path) -> None:
    added = [
        decision(A, reason='tongue out, ears "up"'),
        decision(B, "wütend", ""),
    ]
    for each in added:
        relabels.append(file, each)
    assert relabels.read(file).rows == {each.sha256: each for each in added}
    assert file.read_text().splitlines() == [
        HEADER,
        f'{A},sad,happy,"tongue out, ears ""up""",2026-01-31T12:00:05Z',
        f"{B},wütend,,,2026-01-31T12:00:05Z",
    ]


def test_the_last_decision_about_a_photo_counts_and_none_is_erased(file: Path) -> None:
    relabels.append(file, decision(A, "sad", "happy"))
    before = file.read_bytes()
    relabels.append(file, decision(A, "happy", "sad", relabels.UNDO))
    assert relabels.read(file).rows[A].to == "sad"
    assert relabels.read(file).rows[A].is_undo
    assert file.read_bytes().startswith(before)


def test_the_latest_decision_comes_last(file: Path) -> None:
    for sha256 in (A, B, A):
        relabels.append(file, decision(sha256))
    assert list(relabels.read(file).rows) == [B, A]


def test_a_table_that_a_spreadsheet_saved_is_read(file: Path) -> None:
    row = f"{A},sad,happy,,2026-01-31T12:00:05+00:00"
    file.write_bytes(f"\ufeff{HEADER}\r\n{row}\r\n".encode())
    assert relabels.read(file).rows == {A: decision()}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (f"{A},sad,happy,", r"line 3: 4 values, not the 5 of sha256,from,to,reason,when"),
        ("", "line 3: 0 values"),
        (f"{A[1:]},sad,happy,,2026-01-31T12:00:00Z", f"line 3: sha256 is '{A[1:]}': give the"),
        (f"{A},sad, happy,,2026-01-31T12:00:00Z", "line 3: to is ' happy': give a class name"),
        (f'{A},"a,b",sad,,2026-01-31T12:00:00Z', "line 3: from is 'a,b': give a class name"),
        (f"{A},sad,happy,\x07,2026-01-31T12:00:00Z", r"line 3: reason is '\\x07': keep it on one"),
        (f"{A},sad,happy,,yesterday", "line 3: when is 'yesterday': give a time in UTC, as in"),
        (f"{A},sad,happy,,2026-01-31T12:00:00", "line 3: when is .*: give a time in UTC"),
        (f"{A},sad,happy,,2026-01-31T12:00:00+01:00", "line 3: when is .*: give a time in UTC"),
        (f'{A},sad,happy,"open,2026-01-31T12:00:00Z', "line 3: unexpected end of data"),
    ],
)
def test_a_line_that_is_no_decision_is_named(file: Path, line: str, complaint: str) -> None:
    relabels.append(file, decision())
    with file.open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(DataError, match=complaint):
        relabels.read(file)


def test_what_is_not_a_table_of_relabels_is_refused(file: Path) -> None:
    file.write_text("path,label\na.jpg,sad\n")
    with pytest.raises(DataError, match="line 1 is 'path,label': a table of relabels begins with"):
        relabels.read(file)
    file.write_bytes(f"{HEADER}\n{A},sad,fr\xf6hlich,,2026-01-31T12:00:00Z\n".encode("latin-1"))
    with pytest.raises(DataError, match="line 2 is not UTF-8: save the table as UTF-8"):
        relabels.read(file)


@pytest.mark.parametrize("length", [10, 70, 90])
def test_a_line_that_was_cut_off_is_neither_read_nor_written_behind(
    file: Path, length: int
) -> None:
    relabels.append(file, decision(A))
    row = f"{B},sad,happy,,2026-01-31T12:00:05Z"
    with file.open("a") as stream:
        stream.write(row[:length])
    before = file.read_bytes()
    with pytest.raises(DataError, match=r"line 3 is cut off: 'b+.*; delete the line, or complete"):
        relabels.read(file)
    with pytest.raises(DataError, match="line 3 is cut off"):
        relabels.append(file, decision(B))
    assert file.read_bytes() == before


def test_what_does_not_fit_the_table_is_not_added(file: Path) -> None:
    with pytest.raises(DataError, match=r"cannot add to .*: reason is 'two\\nlines'"):
        relabels.append(file, decision(reason="two\nlines"))
    assert not file.exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/none/relabels\.csv: No such file"):
        relabels.append(tmp_path / "none" / "relabels.csv", decision())
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        relabels.read(tmp_path)


def _append_with_little_room(file: Path, limit: int) -> None:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(DataError, match=r"cannot write to .*: No space left"):
        relabels.append(file, decision(B))


def test_half_a_row_is_not_left_on_a_full_disk(file: Path) -> None:
    relabels.append(file, decision(A))
    before = file.read_bytes()
    _in_process(_append_with_little_room, file, len(before) + 20)
    assert file.read_bytes() == before
    relabels.append(file, decision(B))
    assert relabels.read(file).rows.keys() == {A, B}


def _append_many(file: Path, digit: str) -> None:
    for number in range(50):
        relabels.append(file, decision(f"{digit}{number:063d}"))
        relabels.read(file)


def test_any_number_of_processes_add_to_one_table(file: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=_append_many, args=(file, digit)) for digit in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(relabels.read(file).rows) == 200
    assert file.read_text().count(HEADER) == 1


def _append_and_die(file: Path) -> None:
    relabels.append(file, decision(A))
    os.kill(os.getpid(), 9)


def test_what_was_added_outlives_a_kill(file: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_append_and_die, args=(file,))
    process.start()
    process.join()
    assert relabels.read(file).rows == {A: decision(A)}


def _in_process(function: object, *args: object) -> None:
    process = multiprocessing.get_context("fork").Process(target=function, args=args)  # type: ignore[arg-type]
    process.start()
    process.join()
    assert process.exitcode == 0
