"""Which split each picture is in: near-duplicates in the same one, and for good."""

import hashlib
from collections import defaultdict
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
    share one: that of their near-duplicates among the former, or else one that their hashes decide.

    Args:
        pictures: hashes of their pixels, each once.
        near: the near-duplicates among them.
        known: the splits given before, by hash.
    """
    splits = [known.get(pixels, "") for pixels in pictures]
    is_known = np.array([bool(split) for split in splits], bool)
    components = find_components(near.among(~is_known), len(pictures))
    one, other = near.both_ways()
    passes_on = is_known[one] & ~is_known[other]
    inherited = np.full(len(pictures), len(SPLITS))
    np.minimum.at(inherited, components[other[passes_on]], _places(splits)[one[passes_on]])
    members: defaultdict[int, list[str]] = defaultdict(list)
    for component, pixels in zip(components, pictures, strict=True):
        members[component].append(pixels)
    decided = {
        component: SPLITS[inherited[component]]
        if inherited[component] < len(SPLITS)
        else choose_split(_stand_for(together))
        for component, together in members.items()
    }
    return [
        split or decided[component] for split, component in zip(splits, components, strict=True)
    ]


def _stand_for(pictures: Sequence[str]) -> str:
    """A hash for a set of pictures; of a single one, its own.

    The smallest hash of several is a small number, which mostly means training: it is hashed again.
    """
    smallest = min(pictures)
    return smallest if len(pictures) == 1 else hashlib.sha256(smallest.encode()).hexdigest()


def find_leaks(splits: Sequence[str], near: Pairs, fixed: NDArray[np.bool_]) -> dict[int, int]:
    """The pictures to leave out so that no near-duplicates are in two splits.

    There are some only where an earlier split is kept: when a new picture resembles two that were
    not known to be alike, or when the radius has become larger. Training gives way to validation,
    and that to testing, but what is fixed to nothing.

    Returns:
        Each such picture, with one of those that it resembles.
    """
    places = _places(splits)
    one, other = near.both_ways()
    gives_way = (places[one] < places[other]) | fixed[other]
    leaks = (places[one] != places[other]) & ~fixed[one] & gives_way
    return dict(zip(one[leaks].tolist(), other[leaks].tolist(), strict=True))


def _places(splits: Sequence[str]) -> NDArray[np.int64]:
    """Where in `SPLITS` each one is, int64 [N]; behind them if it is none."""
    order = {split: place for place, split in enumerate(SPLITS)}
    return np.array([order.get(split, len(SPLITS)) for split in splits], np.int64)
