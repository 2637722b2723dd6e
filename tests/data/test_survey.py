import numpy as np

from data.audit import Fact
from data.perceptual_hash import BYTES, HASHES
from data.span_photos import NO_PHOTOS
from data.survey import compare


def test_a_photo_that_is_left_out_keeps_nothing_else_out() -> None:
    """Two photos with splits of their own, one of them left out, and a third that is like both."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (100, HASHES, BYTES), np.uint8)
    hashes[2, :7], hashes[2, 7:] = hashes[0, 0], hashes[1, 0]
    facts = [
        Fact(f"{place}.png", "happy", "", sha256=f"{place}", pixels=f"{place:064x}")
        for place in range(len(hashes))
    ]
    facts[1] = Fact(
        "1.png", "happy", "", sha256="1", pixels=f"{1:064x}", conflict="left out by relabels.csv"
    )
    splits = {f"{0:064x}": "train", f"{1:064x}": "test"}
    found = compare(facts, hashes, splits, NO_PHOTOS).facts
    assert found[2].split == "train"
    assert found[2].is_used
    assert found[0].is_used
    assert not found[1].is_used


def test_a_burst_with_two_labels_is_one_group_and_left_out_as_a_whole() -> None:
    """150 frames, which are kept as stars, and 60 photos that are unlike all others."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (210, HASHES, BYTES), np.uint8)
    hashes[:150] = hashes[0]
    hashes[:150, :, 0] = np.arange(150)[:, None]
    facts = [
        Fact(f"{place}.png", "sad" if place % 3 else "happy", "", pixels=f"{place:064x}")
        for place in range(len(hashes))
    ]
    found = compare(facts, hashes, {}, NO_PHOTOS).facts
    assert all("a near-duplicate of" in fact.conflict for fact in found[:150])
    assert len({(fact.group, fact.split) for fact in found[:150]}) == 1
    assert all(fact.is_used for fact in found[150:])


def test_a_burst_keeps_the_split_that_one_of_it_has_had() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (210, HASHES, BYTES), np.uint8)
    hashes[:150] = hashes[0]
    hashes[:150, :, 0] = np.arange(150)[:, None]
    facts = [
        Fact(f"{place}.png", "happy", "", pixels=f"{place:064x}") for place in range(len(hashes))
    ]
    for split in ("val", "test"):
        found = compare(facts, hashes, {f"{77:064x}": split}, NO_PHOTOS).facts
        assert {fact.split for fact in found[:150]} == {split}
        assert all(fact.is_used for fact in found)
