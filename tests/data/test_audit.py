import pytest

from data import audit
from data.audit import Fact
from data.errors import DataError


def fact(name: str, label: str = "happy", split: str = "train", reason: str = "") -> Fact:
    return Fact(name, label, f"{name}.jpg", split=split, reason=reason)


def test_counts_name_every_class_in_every_split() -> None:
    counts = audit.count_photos([fact("a", "happy", "train"), fact("b", "sad", "test")])
    assert counts == {
        "train": {"happy": 1, "sad": 0},
        "val": {"happy": 0, "sad": 0},
        "test": {"happy": 0, "sad": 1},
    }


def test_too_many_rejects_name_the_share_and_the_reason() -> None:
    facts = [fact(str(n)) for n in range(8)]
    facts += [fact("x", reason="empty file"), fact("y", reason="empty file")]
    audit.check_rejects(facts, 0.2)
    facts.append(fact("z", reason="truncated or damaged"))
    with pytest.raises(DataError, match=r"3 of 11 .*27\.3%.* than the 20% .*\(2\): empty file"):
        audit.check_rejects(facts, 0.2)


def test_small_class_says_how_many_are_missing() -> None:
    counts = {"train": {"sad": 10}, "val": {"sad": 1}, "test": {"sad": 2}}
    with pytest.raises(DataError, match="class 'sad' has 13 usable photos, 20 are needed: add 7"):
        audit.check_classes(["sad"], counts)


def test_class_without_a_usable_photo() -> None:
    with pytest.raises(DataError, match="class 'sad' has 0 usable photos"):
        audit.check_classes(["sad"], {"train": {}, "val": {}, "test": {}})


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((40, 0, 5), "none of the 45 photos of class 'sad' falls into the val split: 19 more"),
        ((40, 5, 0), "none of the 45 photos of class 'sad' falls into the test split: 19 more"),
        ((0, 20, 5), "falls into the train split: 3 more"),
    ],
)
def test_split_without_a_class_says_how_many_more(
    counts: tuple[int, int, int], message: str
) -> None:
    by_split = {
        split: {"happy": 30, "sad": count}
        for split, count in zip(("train", "val", "test"), counts, strict=True)
    }
    with pytest.raises(DataError, match=message):
        audit.check_classes(["happy", "sad"], by_split)


def test_number_needed_is_the_smallest_that_is_95_percent_sure() -> None:
    needed = audit.count_needed("val")
    assert 1 - 0.85**needed >= 0.95 > 1 - 0.85 ** (needed - 1)


def test_span_of_new_photos_needs_some_and_no_new_class() -> None:
    audit.check_new([fact("a", "happy")], {"happy", "sad"})
    with pytest.raises(DataError, match="no photo is new"):
        audit.check_new([], {"happy", "sad"})
    with pytest.raises(DataError, match="class 'jolly' is not in the earlier spans"):
        audit.check_new([fact("a", "happy"), fact("b", "jolly")], {"happy", "sad"})
