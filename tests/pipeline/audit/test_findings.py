from data.audit import Fact
from pipeline.audit.findings import Findings, find_out
from pipeline.audit.pictures import Doubt, Doubts, Padded
from tests.pipeline.audit.conftest import RADIUS, NewFact

ENOUGH = 20


def photos(new_fact: NewFact, label: str, number: int, **facts: object) -> list[Fact]:
    return [new_fact(f"{label}/{index}.jpg", label, **facts) for index in range(number)]


def notices(findings: Findings) -> dict[str, int]:
    """By section: how many the first notice about it counts."""
    found: dict[str, int] = {}
    for notice in findings.notices:
        found.setdefault(notice.section, notice.number)
    return found


def test_good_photos_leave_nothing_to_look_at(new_fact: NewFact) -> None:
    facts = photos(new_fact, "happy", ENOUGH) + photos(new_fact, "sad", ENOUGH)
    findings = find_out(facts, [], Doubts(), radius=RADIUS)
    assert findings.notices == ()
    assert [row.label for row in findings.classes] == ["happy", "sad"]
    assert findings.classes[0].splits == (ENOUGH, 0, 0)
    assert findings.classes[0].shorter_side == 300
    assert findings.classes[0].brightness == 120


def test_what_is_wrong_is_counted_and_the_gravest_comes_first(new_fact: NewFact) -> None:
    twins = [
        new_fact("happy/t.jpg", "happy", group="t", conflict="labelled sad too"),
        new_fact("sad/t.jpg", "sad", group="t", conflict="labelled happy too"),
    ]
    odd = new_fact("sad/odd.jpg", "sad", brightness=3.0, height=100)
    bad = [new_fact("sad/bad.jpg", "sad", reason="empty file", conflict="left out by relabels.csv")]
    facts = [*photos(new_fact, "happy", ENOUGH), odd, *twins, *bad]
    findings = find_out(
        facts, [Padded(odd, 0.5)], Doubts((Doubt(odd, 0.01, "ram"),)), radius=RADIUS
    )
    assert findings.rejected == tuple(bad)
    assert findings.conflicts == tuple(twins)
    assert notices(findings) == {
        "classes": 1,
        "rejected": 1,
        "conflicts": 2,
        "groups": 1,
        "no-dog": 1,
        "padding": 1,
        "figures": 1,
    }
    assert [notice.section for notice in findings.notices][:3] == [
        "classes",
        "rejected",
        "conflicts",
    ]


def test_groups_with_several_labels_come_first_then_the_largest(new_fact: NewFact) -> None:
    facts = [
        *(new_fact(f"happy/p{n}.jpg", group="pair") for n in range(2)),
        *(new_fact(f"happy/m{n}.jpg", group="many") for n in range(5)),
        new_fact("happy/x.jpg", "happy", group="mixed"),
        new_fact("sad/x.jpg", "sad", group="mixed"),
        new_fact("happy/bad.jpg", "happy", group="mixed", reason="empty file"),
        new_fact("happy/alone.jpg", group="alone"),
    ]
    groups = find_out(facts, [], Doubts(), radius=RADIUS).groups
    assert [len(group.photos) for group in groups] == [2, 5, 2]
    assert [group.labels for group in groups] == [["happy", "sad"], ["happy"], ["happy"]]


def test_bars_on_one_class_alone_are_pointed_out(new_fact: NewFact) -> None:
    happy, sad = photos(new_fact, "happy", ENOUGH), photos(new_fact, "sad", ENOUGH)

    def said(padded: list[Fact]) -> str:
        bars = [Padded(fact, 0.2) for fact in padded]
        (notice,) = find_out(happy + sad, bars, Doubts(), radius=RADIUS).notices
        return notice.what

    assert "far more in some classes" in said(happy[:10])
    assert "far more" not in said(happy[:10] + sad[:10])


def test_a_class_without_a_usable_photo_is_listed(new_fact: NewFact) -> None:
    facts = [
        *photos(new_fact, "happy", ENOUGH),
        *photos(new_fact, "sad", 3, reason="empty file"),
    ]
    (_, sad) = find_out(facts, [], Doubts(), radius=RADIUS).classes
    assert (sad.label, sad.photos, sad.shorter_side, sad.padded) == ("sad", 0, 0, 0)


def test_nothing_usable_at_all_is_a_finding_too(new_fact: NewFact) -> None:
    findings = find_out(
        photos(new_fact, "sad", 3, reason="empty file"), [], Doubts(), radius=RADIUS, refusal="no"
    )
    assert findings.used == ()
    assert notices(findings) == {"classes": 1, "rejected": 3}
