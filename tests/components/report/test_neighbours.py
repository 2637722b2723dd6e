from collections.abc import Iterator

import numpy as np

from components.report.neighbours import Batch, nearest

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(100, 8))
LABELS = RANDOM.integers(0, 3, 100)


def batches(size: int) -> Iterator[Batch]:
    for start in range(0, 100, size):
        part = slice(start, start + size)
        yield Batch(FEATURES[part], LABELS[part], [str(n) for n in range(100)][part])


def test_the_most_similar_are_found_whatever_the_batches() -> None:
    wanted = FEATURES[[7, 42]] * 3.0
    for size in (1, 7, 100):
        found = nearest(wanted, batches(size), number=3, of_class=[None, None])
        assert [each[0].sha256 for each in found] == ["7", "42"]
        for row, each in zip(wanted, found, strict=True):
            cosine = FEATURES @ row / np.linalg.norm(FEATURES, axis=1) / np.linalg.norm(row)
            assert [n.sha256 for n in each] == [str(n) for n in np.argsort(-cosine)[:3]]
            np.testing.assert_allclose([n.similarity for n in each], np.sort(cosine)[:-4:-1])


def test_those_of_one_class_are_of_that_class() -> None:
    (found,) = nearest(FEATURES[:1], batches(9), number=5, of_class=[2])
    assert len(found) == 5
    assert {each.label for each in found} == {2}


def test_a_class_with_fewer_photos_has_fewer_neighbours() -> None:
    assert nearest(FEATURES[:1], batches(50), number=5, of_class=[9]) == [[]]


def test_features_of_zeros_are_like_nothing() -> None:
    (found,) = nearest(np.zeros((1, 8)), batches(50), number=1, of_class=[None])
    assert found[0].similarity == 0
