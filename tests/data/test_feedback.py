"""Feedback as candidates: what is read, and what becomes of what was decided on."""

import hashlib
from contextlib import suppress
from pathlib import Path

import pytest

from data.contract.errors import UsageError
from data.contract.feedback import RECORD, Feedback
from data.feedback import Settled, read_feedback, settle


def add(folder: Path, content: bytes, correction: str = "sad", when: str = "1") -> Feedback:
    sha256 = hashlib.sha256(content).hexdigest()
    feedback = Feedback(
        sha256=sha256,
        photo=f"{sha256}.jpg",
        when=f"2026-01-31T12:00:0{when}Z",
        model="dogs",
        version="7",
        label="happy",
        probabilities={"happy": 0.75, "sad": 0.25},
        certain=True,
        dog=0.5,
        correction=correction,
    )
    (folder / feedback.photo).write_bytes(content)
    (folder / (sha256 + RECORD)).write_text(feedback.to_json())
    return feedback


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "feedback"
    folder.mkdir()
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for label in ("happy", "sad"):
        (tmp_path / "photos" / label).mkdir(parents=True)
    return tmp_path / "photos"


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_what_was_kept_is_read_the_oldest_first(folder: Path) -> None:
    late, early = add(folder, b"a", when="5"), add(folder, b"b", when="2")
    assert read_feedback(folder) == ([early, late], [])


def test_what_is_damaged_is_named_and_the_rest_is_read(folder: Path) -> None:
    good = add(folder, b"good")
    changed = add(folder, b"changed")
    (folder / changed.photo).write_bytes(b"other bytes")
    gone = add(folder, b"gone")
    (folder / gone.photo).unlink()
    outside = add(folder, b"outside")
    record = folder / (outside.sha256 + RECORD)
    record.write_text(record.read_text().replace(outside.photo, "../../etc/passwd"))
    (folder / f"half{RECORD}").write_text("{")
    (folder / f"{'0' * 64}.jpg").write_bytes(b"its record was never written")
    found, remarks = read_feedback(folder)
    assert found == [good]
    assert len(remarks) == 4
    assert any("no such file" in remark for remark in remarks)
    assert any("passwd" in remark for remark in remarks)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--feedback .*nowhere: there is no such folder"):
        read_feedback(tmp_path / "nowhere")


def test_accepted_photos_go_to_their_class_and_others_stay_or_go(
    folder: Path, source: Path
) -> None:
    accepted, changed, left_out, waiting = (add(folder, bytes([n])) for n in range(4))
    decisions = {accepted.sha256: "sad", changed.sha256: "happy", left_out.sha256: ""}
    all_four = [accepted, changed, left_out, waiting]
    assert settle(folder, source, all_four, decisions.get) == Settled(taken=2, left_out=1)
    assert files(source) == sorted([f"sad/{accepted.photo}", f"happy/{changed.photo}"])
    assert (source / "sad" / accepted.photo).read_bytes() == b"\0"
    assert read_feedback(folder) == ([waiting], [])
    assert len(files(folder)) == 2


def test_photos_that_a_kill_has_left_without_their_record_go(folder: Path, source: Path) -> None:
    waiting = add(folder, b"waiting")
    (folder / f"{'0' * 64}.png").write_bytes(b"its record was never written")
    (folder / "mine.jpg").write_bytes(b"not of a server")
    assert settle(folder, source, [waiting], {}.get) == Settled(taken=0, left_out=0)
    assert files(folder) == sorted([waiting.photo, waiting.sha256 + RECORD, "mine.jpg"])


def test_after_a_kill_settling_again_comes_to_the_same(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [add(folder, b"a"), add(folder, b"b")]
    decisions = {each.sha256: "sad" for each in both}
    unlink = Path.unlink
    states = set()

    for steps in range(5):
        left = steps

        def unlink_or_die(path: Path, missing_ok: bool = False) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", unlink_or_die)
        found, _ = read_feedback(folder)
        with suppress(KeyboardInterrupt):
            settle(folder, source, found, decisions.get)
        states.add(tuple(files(folder)))
    monkeypatch.undo()
    settle(folder, source, read_feedback(folder)[0], decisions.get)
    assert len(states) > 1
    assert files(source) == sorted(f"sad/{each.photo}" for each in both)
    assert files(folder) == []
