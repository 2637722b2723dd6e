import re
from html.parser import HTMLParser

import pytest

from data.audit import Fact
from data.near_duplicates import Radius
from pipeline.audit.findings import find_out
from pipeline.audit.page import make_page
from pipeline.audit.pictures import Doubt, Doubts, Padded
from tests.pipeline.audit.conftest import RADIUS, NewFact

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>"\'&\u202e'


class Elements(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(facts: list[Fact], padded: int = 0, doubts: int = 0, refusal: str = "") -> str:
    usable = [fact for fact in facts if not fact.reason]
    doubted = Doubts(tuple(Doubt(fact, 0.01, "ram") for fact in usable[:doubts]), "lite0")
    bars = [Padded(fact, 0.3) for fact in usable[:padded]]
    return make_page(find_out(facts, bars, doubted, radius=RADIUS, refusal=refusal), HOSTILE)


def test_names_labels_and_reasons_are_text_however_hostile(new_fact: NewFact) -> None:
    facts = [
        new_fact(f"{HOSTILE}/a.jpg", HOSTILE, group="g"),
        new_fact(f"{HOSTILE}/b.jpg", f"{HOSTILE}2", group="g", conflict=HOSTILE),
        new_fact(f"{HOSTILE}/c.jpg", HOSTILE, reason=HOSTILE),
    ]
    found = Elements(page_of(facts, padded=2, doubts=2, refusal=HOSTILE))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "iframe", "object"})
    images = [attributes for tag, attributes in found.tags if tag == "img"]
    assert images
    assert all((each["src"] or "").startswith("data:image/webp;base64,") for each in images)
    assert not [key for _, attributes in found.tags for key in attributes if key.startswith("on")]
    assert found.text.count('<script>alert("x")</script>') > 10


def test_the_page_needs_nothing_else(new_fact: NewFact) -> None:
    page = page_of([new_fact()], padded=1, doubts=1)
    found = Elements(page)
    references = [
        value or ""
        for _, attributes in found.tags
        for key, value in attributes.items()
        if key in ("src", "href", "action", "data", "poster")
    ]
    assert references
    assert all(each.startswith(("#", "data:")) for each in references)
    assert not re.search(r"url\(|@import|https?://", page)


def test_every_link_leads_to_a_section(new_fact: NewFact) -> None:
    facts = [
        new_fact("a", "happy", group="g", height=100),
        new_fact("b", "sad", group="g", conflict="labelled happy too"),
        new_fact("c", "sad", reason="empty file"),
    ]
    found = Elements(page_of(facts, padded=1, doubts=1)).tags
    places = {attributes.get("id") for _, attributes in found}
    links = {(attributes["href"] or "") for tag, attributes in found if tag == "a"}
    assert len(links) >= 7
    assert {link.removeprefix("#") for link in links} <= places


def test_the_page_stays_small_with_many_photos_classes_groups_and_reasons(
    new_fact: NewFact,
) -> None:
    many = 30_000
    facts = [
        new_fact(
            f"class-{index % 500}/a-rather-long-name-of-a-photo-{index}.jpg",
            f"class-{index % 500}",
            group=str(index // 3),
            reason=f"reason {index}" if index % 10 == 0 else "",
            conflict=f"like {index}" if index % 10 == 1 else "",
        )
        for index in range(many)
    ]
    page = page_of(facts, padded=9_000, doubts=9_000)
    assert len(page) < 5_000_000
    assert page.count("<img") < 1_000
    assert "and 440 more classes" in page
    assert "and 8,976 more" in page


def test_the_page_stays_small_with_names_that_are_not(new_fact: NewFact) -> None:
    long = "x" * 100_000
    facts = [new_fact(f"{long}{n}", long, group="g", conflict=long) for n in range(40)]
    facts += [new_fact(f"{long}{n}", long, reason=f"{long}{n}") for n in range(40)]
    assert len(page_of(facts, padded=30, doubts=30, refusal=long)) < 1_000_000


def test_how_many_are_not_shown_is_said(new_fact: NewFact) -> None:
    facts = [new_fact(f"sad/{n}.jpg", "sad", reason="empty file") for n in range(1_000)]
    assert "and 976 more" in page_of([*facts, new_fact()])


def test_the_sample_of_a_class_is_the_same_each_time(new_fact: NewFact) -> None:
    facts = [new_fact(f"happy/{n}.jpg") for n in range(500)]
    assert page_of(facts) == page_of(facts)
    shown = re.findall(r'title="happy/(\d+).jpg"', page_of(facts))
    assert shown != sorted(shown, key=int)


def test_a_group_shows_a_photo_of_every_label(new_fact: NewFact) -> None:
    facts = [new_fact(f"happy/{n}.jpg", group="g") for n in range(50)]
    facts.append(new_fact("sad/only.jpg", "sad", group="g", conflict="labelled happy too"))
    _, _, groups = page_of(facts).partition('id="groups"')
    assert "sad/only.jpg" in groups.partition("<h2")[0]


def test_how_many_near_duplicates_are_so_by_chance_is_said(new_fact: NewFact) -> None:
    twins = [new_fact("a", group="g"), new_fact("b", group="g")]
    page = make_page(find_out(twins, [], Doubts(), radius=RADIUS), "dogs")
    assert "1 group. " in page
    assert "up to 70 differ; of all pairs, 0.82 can be expected" in page


def test_that_a_dog_was_seen_everywhere_is_said(new_fact: NewFact) -> None:
    assert "lite0 as a classifier of ImageNet sees a dog in every photo" in page_of([new_fact()])


def test_that_dogs_were_not_looked_for_is_said_with_the_reason(new_fact: NewFact) -> None:
    doubts = Doubts(unjudged="weights 'random' come without a head")
    page = Elements(make_page(find_out([new_fact()], [], doubts, radius=RADIUS), "dogs"))
    assert "was not judged" in page.text
    assert "Not judged: weights 'random' come without a head." in page.text


@pytest.mark.parametrize("facts", [{"reason": "empty file"}, {"conflict": "left out"}])
def test_a_page_without_a_usable_photo_is_a_page(
    new_fact: NewFact, facts: dict[str, object]
) -> None:
    page = make_page(
        find_out(
            [new_fact(**facts)],
            [],
            Doubts(unjudged="there is none"),
            radius=RADIUS,
            refusal="no photo",
        ),
        "dogs",
    )
    found = Elements(page)
    assert "A run would refuse them: no photo." in found.text
    places = {attributes.get("id") for _, attributes in found.tags}
    links = {(attributes["href"] or "") for tag, attributes in found.tags if tag == "a"}
    assert {link.removeprefix("#") for link in links} <= places


@pytest.mark.parametrize("twins", [True, False])
def test_that_only_close_copies_could_be_told_is_said(new_fact: NewFact, *, twins: bool) -> None:
    facts = [new_fact("a", group="g"), new_fact("b", group="g" if twins else "b")]
    found = Elements(make_page(find_out(facts, [], Doubts(), radius=Radius(31, None)), "dogs"))
    assert "that were changed much were not told from other photos" in found.text
    assert "up to 31 differ, PDQ's customary bound: the photos are too few" in found.text
    assert ("None was found." in found.text) != twins
    places = {attributes.get("id") for _, attributes in found.tags}
    links = {(attributes["href"] or "") for tag, attributes in found.tags if tag == "a"}
    assert {link.removeprefix("#") for link in links} <= places


def test_a_measured_radius_is_no_reason_for_doubt(new_fact: NewFact) -> None:
    page = make_page(find_out([new_fact()], [], Doubts(), radius=RADIUS), "dogs")
    assert "were not told" not in page
    assert 'id="groups"' not in page
