import hashlib
import math

import pytest

from data import audit
from data.audit import Fact, choose_split
from data.errors import DataError


def fact(name: str, label: str = "happy", group: str = "", reason: str = "") -> Fact:
    group = group or hashlib.sha256(name.encode()).hexdigest()
    return Fact(name, label, f"{name}.jpg", group=group, reason=reason)


def test_shares_hold_to_sampling_error() -> None:
    number = 20_000
    splits = [choose_split(hashlib.sha256(str(n).encode()).hexdigest()) for n in range(number)]
    for split, share in (("train", 0.70), ("val", 0.15), ("test", 0.15)):
        error = math.sqrt(share * (1 - share) / number)
        assert abs(splits.count(split) / number - share) < 4 * error


@pytest.mark.parametrize(
    ("position", "split"),
    [
        (0, "train"),
        (0.6999, "train"),
        (0.7001, "val"),
        (0.8499, "val"),
        (0.8501, "test"),
        (1 - 2**-53, "test"),
    ],
)
def test_split_is_decided_by_the_first_eight_bytes(position: float, split: str) -> None:
    first = f"{int(position * 2**64):016x}"
    assert choose_split(first + "0" * 48) == choose_split(first + "f" * 48) == split


def test_conflicts_are_copies_with_two_labels() -> None:
    facts = [
        fact("a", "happy", "1" * 64),
        fact("b", "sad", "1" * 64),
        fact("c", "happy", "1" * 64),
        fact("d", "happy", "2" * 64),
        fact("e", "happy", "2" * 64),
        Fact("f", "sad", "f.jpg", reason="empty file"),
        Fact("g", "happy", "g.jpg", reason="empty file"),
    ]
    assert [conflict.name for conflict in audit.find_conflicts(facts)] == ["a", "b", "c"]


def test_counts_name_every_class_in_every_split() -> None:
    counts = audit.count_photos([fact("a", "happy", "0" * 64), fact("b", "sad", "f" * 64)])
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
