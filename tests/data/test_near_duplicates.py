import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from data import near_duplicates
from data.near_duplicates import (
    Pairs,
    Radius,
    choose_radius,
    find_components,
    find_leaders,
    find_pairs,
)
from data.perceptual_hash import ASKED, BYTES, HASHES, INDEXED, Hashes, hash_changes
from data.photos import Pixels

Draw = Callable[[int], Pixels]


def synthetic(photos: int, seed: int = 0) -> Hashes:
    """Unlike photos: random bits, whose distances have the tail of a binomial distribution."""
    return np.random.default_rng(seed).integers(0, 256, (photos, HASHES, BYTES), np.uint8)


def with_bits_flipped(hashes: Hashes, bits: int, seed: int = 0) -> Hashes:
    """The same photos with that many bits of each hash changed."""
    rng = np.random.default_rng(seed)
    flips = np.zeros((*hashes.shape[:2], 8 * BYTES), np.uint8)
    flips[..., :bits] = 1
    return hashes ^ np.packbits(rng.permuted(flips, axis=2), axis=2)


def count_within(hashes: Hashes, radius: int) -> int:
    """Pairs within a radius, counted one by one."""
    found = 0
    for one in range(len(hashes)):
        for other in range(one + 1, len(hashes)):
            there = np.bitwise_count(hashes[one, ASKED, None] ^ hashes[other, None, :INDEXED])
            back = np.bitwise_count(hashes[other, ASKED, None] ^ hashes[one, None, :INDEXED])
            found += min(there.sum(axis=2).min(), back.sum(axis=2).min()) <= radius
    return found


def films_of(
    films: int, frames: int, others: int, bits: int = 3
) -> tuple[Hashes, NDArray[np.int64]]:
    """Films, whose frames differ by some bits each from the one before, and photos, well mixed.

    Returns:
        The hashes, and of which film each is; every other photo is one of its own.
    """
    rng = np.random.default_rng(0)
    shown = [synthetic(films)]
    for frame in range(frames - 1):
        shown.append(with_bits_flipped(shown[-1], bits, frame))
    hashes = np.concatenate([*shown, synthetic(others, seed=1)])
    numbers = np.concatenate([np.tile(np.arange(films), frames), films + np.arange(others)])
    mixed = rng.permutation(len(hashes))
    return hashes[mixed], numbers[mixed]


def as_set(pairs: Pairs) -> set[tuple[int, int]]:
    return {*zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}


def kinds_near(pairs: Pairs, kinds: NDArray[np.int32]) -> set[tuple[int, int]]:
    """To which other kinds each photo is near."""
    one, other = pairs.both_ways()
    met = zip(one.tolist(), kinds[other].tolist(), strict=True)
    return {(photo, kind) for photo, kind in met if kind != kinds[photo]}


def test_pairs_are_those_that_counting_finds() -> None:
    hashes = synthetic(60)
    hashes = np.concatenate([hashes, with_bits_flipped(hashes[:20], 30)])
    for radius in (0, 29, 30, 90, 100):
        pairs = find_pairs(hashes, radius)
        assert len(pairs.first) == count_within(hashes, radius)
        assert (pairs.first < pairs.second).all()
        assert pairs.distance.max(initial=0) <= radius
    copies = find_pairs(hashes, 30)
    assert copies.first.tolist() == [*range(20)]
    assert copies.second.tolist() == [*range(60, 80)]


def test_pairs_do_not_depend_on_how_many_are_searched_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashes = synthetic(50)
    whole = find_pairs(hashes, 100)
    monkeypatch.setattr(near_duplicates, "ANSWERS", 1)
    single = find_pairs(hashes, 100)
    assert whole.distance.tolist() == single.distance.tolist()
    assert whole.second.tolist() == single.second.tolist()


def test_photos_without_a_hash_are_like_none() -> None:
    hashes = np.concatenate([synthetic(30), np.zeros((5, HASHES, BYTES), np.uint8)])
    assert find_pairs(hashes, 256).second.max() < 30
    assert len(find_pairs(np.zeros((5, HASHES, BYTES), np.uint8), 256).first) == 0
    assert len(find_pairs(hashes, -1).first) == 0


@pytest.mark.parametrize("photos", [0, 1, 2, 5])
def test_where_there_is_nothing_to_measure_the_customary_radius_is_taken(photos: int) -> None:
    assert choose_radius(synthetic(photos)) == Radius(31, None)


@pytest.mark.parametrize("photos", [40, 400, 1000])
def test_fewer_than_one_false_pair_is_expected_and_about_as_many_found(photos: int) -> None:
    """Over five sets of unlike photos each."""
    found, expected = 0, 0.0
    for seed in range(5):
        hashes = synthetic(photos, seed)
        radius = choose_radius(hashes)
        assert radius.expected_false
        assert 0 < radius.expected_false < 1
        expected += radius.expected_false
        found += len(find_pairs(hashes, radius.bits).first)
    assert found <= expected + 3 * math.sqrt(expected)


def test_the_radius_falls_as_the_set_grows() -> None:
    radii = [choose_radius(synthetic(photos)).bits for photos in (50, 300, 1500)]
    assert radii == sorted(radii, reverse=True)
    assert radii[0] > radii[-1]


@pytest.mark.parametrize("copies", [1, 4, 9])
def test_near_duplicates_do_not_pass_for_unlike_photos(copies: int) -> None:
    """However many there are, the radius is that of the same photos without them."""
    hashes = synthetic(200)
    alone = choose_radius(hashes).bits
    changed = [with_bits_flipped(hashes, 40, seed) for seed in range(copies)]
    together = np.random.default_rng(1).permutation(np.concatenate([hashes, *changed]))
    radius = choose_radius(together)
    assert alone - 16 <= radius.bits <= alone + 4
    found = np.unique(find_components(find_pairs(together, radius.bits), len(together)))
    assert 196 <= len(found) <= 200


@pytest.mark.parametrize(
    ("bursts", "photos", "alone"), [(10, 60, 0), (3, 200, 0), (30, 30, 0), (1, 300, 300)]
)
def test_bursts_are_told_though_they_are_most_of_the_pairs(
    bursts: int, photos: int, alone: int
) -> None:
    """Films: each frame a few bits from the one before, and soon as far from the first as can be.

    Where the frames are a tenth of all pairs, they hide how far apart unlike photos are.
    """
    hashes, films = films_of(bursts, photos, alone)
    radius = choose_radius(hashes)
    assert radius.bits >= 31
    assert radius.expected_false is None or radius.expected_false < 1
    found = find_components(find_pairs(hashes, radius.bits), len(hashes))
    assert all(len(np.unique(found[films == film])) == 1 for film in range(bursts))
    assert len(np.unique(found)) >= len(np.unique(films)) - 2


def test_many_changed_copies_of_few_photos_are_told() -> None:
    """Twenty photos, 50 copies of each, most of them further apart than the customary radius."""
    base = synthetic(20)
    copies = np.concatenate([with_bits_flipped(base, 24, seed) for seed in range(50)])
    mixed = np.random.default_rng(1).permutation(len(copies))
    radius = choose_radius(copies[mixed])
    assert radius.bits > 45
    found = find_components(find_pairs(copies[mixed], radius.bits), len(copies))
    assert len(np.unique(np.stack([found, mixed % 20]), axis=1).T) == 20


@pytest.mark.parametrize("kinds", [1, 3])
@pytest.mark.parametrize("pending", [500, near_duplicates.PENDING])
def test_bursts_are_kept_as_stars_that_connect_the_same_photos(
    kinds: int, pending: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Films in which a frame is near to dozens of others: each kind by itself, and all together."""
    hashes, _ = films_of(4, 100, 50, bits=2)
    of_kind = np.random.default_rng(2).integers(0, kinds, len(hashes)).astype(np.int32)
    monkeypatch.setattr(near_duplicates, "BURST", len(hashes))
    every = find_pairs(hashes, 40, of_kind)
    monkeypatch.setattr(near_duplicates, "BURST", 8)
    monkeypatch.setattr(near_duplicates, "PENDING", pending)
    kept = find_pairs(hashes, 40, of_kind)
    assert len(kept.first) < len(every.first)
    assert as_set(kept) < as_set(every)
    for chosen in (np.ones(len(hashes), bool), of_kind == 0):
        of_every = find_components(every.among(chosen), len(hashes))
        of_kept = find_components(kept.among(chosen), len(hashes))
        assert of_every.tolist() == of_kept.tolist()
    assert kinds_near(kept, of_kind) == kinds_near(every, of_kind)


def test_photos_that_are_all_alike_are_not_merged() -> None:
    """One scene again and again, with as much noise between all: nothing tells copies apart."""
    base = synthetic(1)
    alike = np.concatenate([with_bits_flipped(base, 60, seed) for seed in range(100)])
    radius = choose_radius(alike)
    assert len(find_pairs(alike, radius.bits).first) <= 3


def test_groups_do_not_chain() -> None:
    """Seven photos, each like the next: no group goes further than one step from its leader."""
    steps = np.arange(6, dtype=np.int32)
    chain = Pairs(steps, steps + 1, np.full(6, 20, np.int32))
    leaders = find_leaders(chain, 7)
    assert (np.abs(leaders - np.arange(7)) <= 1).all()
    assert len(np.unique(leaders)) >= 3
    assert len(np.unique(find_components(chain, 7))) == 1


def test_a_photo_with_most_near_duplicates_leads_them() -> None:
    star = Pairs(np.array([1, 2, 3]), np.array([3, 3, 4]), np.full(3, 20, np.int32))
    assert find_leaders(star, 5).tolist() == [0, 3, 3, 3, 3]


def test_changed_photos_are_found_among_many(draw_scene: Draw) -> None:
    scenes = [draw_scene(seed) for seed in range(120)]
    changed = [np.ascontiguousarray(scene[6:, :-8, :]) for scene in scenes[:20]]
    changed += [np.ascontiguousarray(scene[:, ::-1]) for scene in scenes[20:30]]
    hashes = np.array([hash_changes(image) for image in [*scenes, *changed]])
    pairs = find_pairs(hashes, choose_radius(hashes).bits)
    found = {*zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    wanted = {(place, 120 + place) for place in range(30)}
    assert found >= wanted
    assert len(found - wanted) <= 2
