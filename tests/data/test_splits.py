import hashlib
import math

import numpy as np
import pytest

from data.near_duplicates import Pairs
from data.splits import assign_splits, choose_split, find_leaks

NAMES = {"train": "0", "val": "c", "test": "f"}
"""First digits of hashes that stand for each split."""


def near(*pairs: tuple[int, int]) -> Pairs:
    first, second = np.array(pairs or np.zeros((0, 2)), np.int64).T
    return Pairs(first, second, np.full(len(first), 20, np.int32))


def picture(split: str, number: int = 0) -> str:
    """A hash that stands for that split."""
    return NAMES[split] + f"{number:063x}"


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


def test_pictures_without_near_duplicates_go_where_their_hash_says() -> None:
    pictures = [picture("train"), picture("val"), picture("test")]
    assert assign_splits(pictures, near(), {}) == ["train", "val", "test"]


def test_near_duplicates_share_the_split_of_their_smallest_hash() -> None:
    pictures = [picture("test"), picture("val"), picture("train"), picture("test", 1)]
    assert assign_splits(pictures, near((0, 1), (1, 3)), {}) == ["val", "val", "train", "val"]


def test_a_picture_keeps_its_split_and_newcomers_share_it() -> None:
    pictures = [picture("train"), picture("test"), picture("val")]
    known = {picture("test"): "val"}
    assert assign_splits(pictures, near((0, 1)), known) == ["val", "val", "val"]
    assert assign_splits(pictures, near((0, 2), (1, 2)), known) == ["val", "val", "val"]


def test_two_splits_given_before_stay_two_and_training_gives_way() -> None:
    old, tested, bridge = picture("train"), picture("test"), picture("train", 1)
    pictures, pairs = [old, tested, bridge], near((0, 2), (1, 2))
    splits = assign_splits(pictures, pairs, {old: "train", tested: "test"})
    assert splits == ["train", "test", "train"]
    assert find_leaks(splits, pairs, np.zeros(3, bool)) == {2: 1}


def test_what_is_fixed_stays_and_the_other_gives_way() -> None:
    splits, pairs = ["train", "test", "val"], near((0, 1), (0, 2))
    assert find_leaks(splits, pairs, np.zeros(3, bool)).keys() == {0}
    assert find_leaks(splits, pairs, np.array([True, False, False])) == {1: 0, 2: 0}
    assert find_leaks(splits, near(), np.zeros(3, bool)) == {}
