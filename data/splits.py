"""Which split each picture is in: near-duplicates in the same one, and for good."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data.audit import SHARES
from data.contract.features import SPLITS, TEST, TRAIN, VAL
from data.near_duplicates import Pairs, find_components


def choose_split(pixels: str) -> str:
    """The split that the first 8 bytes of a hexadecimal hash stand for.

    The shares hold up to sampling error, and nothing but the hash decides.
    """
    position = int(pixels[:16], 16) / 2**64
    if position < SHARES[TRAIN]:
        return TRAIN
    return VAL if position < SHARES[TRAIN] + SHARES[VAL] else TEST


def assign_splits(pictures: Sequence[str], near: Pairs, known: Mapping[str, str]) -> list[str]:
    """The split of every picture.

    One that has had a split keeps it. Others that near-duplicates connect, however indirectly,
    share one: that of their near-duplicates among the former, or else that of their smallest hash.

    Args:
        pictures: hashes of their pixels, each once.
        near: the near-duplicates among them.
        known: the splits given before, by hash.
    """
    splits = [known.get(pixels, "") for pixels in pictures]
    is_known = np.array([bool(split) for split in splits], bool)
    components = find_components(near.among(~is_known), len(pictures))
    inherited: dict[int, str] = {}
    smallest: dict[int, str] = {}
    for one, other in near.both_ways():
        if is_known[one] and not is_known[other]:
            found = inherited.setdefault(components[other], splits[one])
            inherited[components[other]] = min(found, splits[one], key=SPLITS.index)
    for component, pixels in zip(components, pictures, strict=True):
        smallest[component] = min(pixels, smallest.get(component, pixels))
    return [
        split or inherited.get(component) or choose_split(smallest[component])
        for split, component in zip(splits, components, strict=True)
    ]


def find_leaks(splits: Sequence[str], near: Pairs, fixed: NDArray[np.bool_]) -> dict[int, int]:
    """The pictures to leave out so that no near-duplicates are in two splits.

    There are some only where an earlier split is kept: when a new picture resembles two that were
    not known to be alike, or when the radius has become larger. Training gives way to validation,
    and that to testing, but what is fixed to nothing.

    Returns:
        Each such picture, with one of those that it resembles.
    """
    leaks = {}
    for one, other in near.both_ways():
        gives_way = SPLITS.index(splits[one]) < SPLITS.index(splits[other])
        if splits[one] != splits[other] and not fixed[one] and (gives_way or fixed[other]):
            leaks[one] = other
    return leaks
