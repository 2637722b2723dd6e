import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data import relabels
from data.contract.errors import UsageError
from data.relabels import Relabel
from pipeline.review.app import keys
from tests.pipeline.review.conftest import (
    LABELS,
    Review,
    make_doubts,
    make_doubts_in_conflict,
    reviewing,
)

LONG_AGO = datetime(2026, 1, 31, tzinfo=UTC)


def test_the_page_and_what_it_needs_come_from_here_alone(review: Review) -> None:
    page = review.ask("GET", "/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cross-origin-resource-policy"] == "same-origin"
    for name in ("theme.css", "review.css", "review.js"):
        assert f'"{name}"' in page.body.decode()
        assert review.ask("GET", f"/{name}").status == 200


def test_an_answer_is_a_row_in_the_table_before_it_is_confirmed(review: Review) -> None:
    reply = review.answer(position=3, to="relaxed", reason="asleep")
    assert reply.status == 200
    assert reply.json["decided"] == [
        {"position": 3, "to": "relaxed", "reason": "asleep", "earlier": False}
    ]
    photo = review.doubts.photos[3]
    (row,) = relabels.read(review.table).rows.values()
    assert (row.sha256, row.before, row.to, row.reason) == (
        photo.sha256,
        photo.label,
        "relaxed",
        "asleep",
    )


def test_that_a_label_is_right_is_a_row_too(review: Review) -> None:
    photo = review.doubts.photos[0]
    assert review.answer(to=photo.label).status == 200
    row = relabels.read(review.table).rows[photo.sha256]
    assert row.before == row.to == photo.label


def test_undoing_gives_the_photo_back_undecided_by_another_row(review: Review) -> None:
    photo = review.doubts.photos[0]
    review.answer(to="sad")
    reply = review.answer(to=None, seen="sad")
    assert reply.json["decided"] == []
    row = relabels.read(review.table).rows[photo.sha256]
    assert (row.before, row.to, row.is_undo) == ("sad", photo.label, True)
    assert len(review.table.read_text().splitlines()) == 3
    assert review.answer(to="").json["decided"][0]["to"] == ""


def test_a_decision_that_a_second_tab_has_not_seen_is_not_overruled(review: Review) -> None:
    assert review.answer(to="sad").status == 200
    late = review.answer(to="happy")
    assert late.status == 409
    assert "someone has decided about this photo meanwhile" in late.json["error"]
    assert relabels.read(review.table).rows[review.doubts.photos[0].sha256].to == "sad"
    assert review.answer(to="happy", seen="sad").status == 200


def test_another_process_writing_to_the_table_is_seen(review: Review) -> None:
    photo = review.doubts.photos[5]
    with reviewing(review.table) as other:
        other.answer(position=5, to="happy")
    (decided,) = review.ask("GET", "/state").json["decided"]
    assert (decided["position"], decided["to"]) == (5, "happy")
    assert relabels.read(review.table).rows[photo.sha256].to == "happy"


def test_photos_in_conflict_come_first_each_with_its_copy(table: Path) -> None:
    with reviewing(table, doubts=make_doubts_in_conflict()) as review:
        items = [review.ask("GET", f"/items/{at}?list={review.list}").json for at in range(3)]
    assert [bool(item["conflict"]) for item in items] == [True, True, False]
    assert {items[0]["label"], items[1]["label"]} == {"sad", "happy"}
    assert items[0]["copies"] == [{"position": 1, "label": items[1]["label"]}]
    assert items[1]["copies"] == [{"position": 0, "label": items[0]["label"]}]
    assert items[2]["copies"] == []


def test_a_decision_counts_for_copies_too_and_is_undone_for_all(table: Path) -> None:
    doubts = make_doubts_in_conflict()
    with reviewing(table, doubts=doubts) as review:
        decided = review.answer(position=0, to="relaxed").json["decided"]
        assert [(each["position"], each["to"]) for each in decided] == [
            (0, "relaxed"),
            (1, "relaxed"),
        ]
        rows = relabels.read(table).rows
        assert [rows[photo.sha256].before for photo in doubts.photos[:2]] == [
            photo.label for photo in doubts.photos[:2]
        ]
        assert review.answer(position=1, to="sad").status == 409  # as a second tab would
        before = table.read_bytes()
        assert review.answer(position=1, to=None, seen="relaxed").json["decided"] == []
        assert table.read_bytes().startswith(before)
        assert len(table.read_text().splitlines()) == 5


def test_a_conflict_that_earlier_decisions_left_is_asked_about_again(table: Path) -> None:
    doubts = make_doubts_in_conflict()
    for photo in doubts.photos[:2]:
        relabels.append(table, Relabel(photo.sha256, photo.label, photo.label, "", LONG_AGO))
    with reviewing(table, doubts=doubts) as review:
        assert review.ask("GET", "/state").json["decided"] == []
        assert len(review.answer(position=0, to="sad").json["decided"]) == 2


def test_a_decision_about_a_photo_that_was_moved_since_asks_for_another(table: Path) -> None:
    doubts = make_doubts()
    photo = doubts.photos[0]
    moved_from = next(label for label in LABELS if label != photo.label)
    relabels.append(table, Relabel(photo.sha256, moved_from, moved_from, "", LONG_AGO))
    with reviewing(table, doubts=doubts) as review:
        assert review.ask("GET", "/state").json["decided"] == []
        assert review.answer(position=0, to=photo.label).status == 200
    assert relabels.read(table).rows[photo.sha256].before == photo.label


def test_a_full_disk_takes_a_decision_about_all_copies_or_about_none(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubts = make_doubts_in_conflict()
    write = os.write
    with reviewing(table, doubts=doubts) as review:
        review.answer(position=2, to="sad")
        before = table.read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr("data.relabels.os.write", lambda to, what: write(to, what[:130]))
            reply = review.answer(position=0, to="sad")
        assert reply.status == 500
        assert "No space left on device" in reply.json["error"]
        assert table.read_bytes() == before


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", ""])
def test_a_name_that_was_made_to_lead_here_is_refused(
    review: Review, method: str, host: str
) -> None:
    port = review.authority.partition(":")[2]
    name = host.format(port=port)
    headers = {
        "host": name,
        "origin": f"http://{name}",
        "content-type": "application/json",
    }
    for path in ("/", "/state", f"/photos/0?list={review.list}", "/answers"):
        assert review.ask(method, path, b"{}", headers).status == 403
    assert not review.table.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:1"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
def test_another_sites_page_cannot_answer(review: Review, headers: dict[str, str]) -> None:
    assert review.answer(headers).status in (403, 415)
    assert not review.table.exists()


def test_localhost_is_a_name_of_the_page(review: Review) -> None:
    host = review.authority.replace("127.0.0.1", "localhost")
    assert review.answer({"host": host, "origin": f"http://{host}"}).status == 200


@pytest.mark.parametrize(
    ("answer", "status", "complaint"),
    [
        ({"to": "hungry"}, 400, "'hungry' is not a class of these photos"),
        ({"position": 40}, 400, "there is no photo 40"),
        ({"position": -1}, 400, "not an answer"),
        ({"position": "0"}, 400, "not an answer"),
        ({"list": "another"}, 409, "the review was started anew"),
        ({"reason": "undo"}, 400, "has a meaning of its own"),
        ({"reason": "x" * 501}, 400, "not an answer"),
        ({"reason": "two\nlines"}, 500, "keep it on one line"),
        ({"reason": "x" * 5000}, 413, "at most 4096 bytes"),
        ({"file": "/etc/passwd"}, 400, "not an answer"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(
    review: Review, answer: dict[str, object], status: int, complaint: str
) -> None:
    reply = review.answer(None, **answer)
    assert reply.status == status
    assert complaint in reply.json["error"]
    assert not review.table.exists()


def test_photos_are_given_by_their_place_in_the_list_alone(review: Review) -> None:
    photo = review.ask("GET", f"/photos/0?list={review.list}")
    assert photo.headers["content-type"] == "image/jpeg"
    assert photo.body.startswith(b"\xff\xd8")
    for path in (
        "/photos/0",
        "/photos/0?list=another",
        f"/photos/40?list={review.list}",
        f"/photos/99999999999999999999?list={review.list}",
        f"/photos/-1?list={review.list}",
        f"/photos/..%2F..%2Fetc%2Fpasswd?list={review.list}",
        "/../pipeline/review/app.py",
        "/review.html",
    ):
        assert review.ask("GET", path).status == 404


def test_a_photo_comes_with_what_others_say_and_its_nearest(review: Review) -> None:
    item = review.ask("GET", f"/items/0?list={review.list}").json
    mine = review.doubts.photos[0]
    assert (item["name"], item["label"]) == (mine.name, mine.label)
    assert sum(item["probabilities"]) == pytest.approx(1)
    assert {near["label"] for near in item["same"]} == {mine.label}
    assert mine.label not in {near["label"] for near in item["others"]}
    assert len(item["same"]) == len(item["others"]) == 4


def test_a_port_that_is_taken_is_named(review: Review) -> None:
    port = int(review.authority.partition(":")[2])
    with (
        pytest.raises(UsageError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: .*--port"),
        reviewing(review.table, port),
    ):
        pass


def test_nobody_else_on_the_network_reaches_it(review: Review) -> None:
    port = int(review.authority.partition(":")[2])
    with socket.socket() as elsewhere, pytest.raises(OSError, match="refused"):
        elsewhere.connect(("127.0.0.2", port))


@pytest.mark.parametrize(
    ("classes", "found"),
    [
        (("angry", "sad"), {"1": "angry", "2": "sad", "a": "angry", "s": "sad"}),
        (("happy", "Hungry"), {"1": "happy", "2": "Hungry"}),
        (("ox", "unsure"), {"1": "ox", "2": "unsure"}),
        (("3", "7"), {"1": "3", "2": "7", "3": "3", "7": "7"}),
    ],
)
def test_keys_stand_for_one_thing_each(classes: tuple[str, ...], found: dict[str, str]) -> None:
    assert keys(classes) == found


def test_more_than_nine_classes_have_letters_where_they_can() -> None:
    classes = [*"abcdefghi", "kind", "jolly"]
    assert keys(classes)["k"] == "kind"
    assert set("123456789") <= keys(classes).keys()
