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
