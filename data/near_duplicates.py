"""Which photos are near-duplicates of each other, and how sure that is.

Two photos are near-duplicates if a hash of one is within a radius of the plain or mirrored hash of
the other. How large the radius may be depends on how many photos there are: among twice as many are
four times as many pairs of unlike photos, some of which are alike by chance. It is therefore chosen
from the distances that unlike photos of the same set have.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from data.perceptual_hash import ASKED, BYTES, INDEXED, Hashes

BITS = 8 * BYTES
SAMPLE = 3_000
"""Photos whose pairs show how far apart unlike photos are."""
FEWEST = 10
"""Pairs from which on a share is trusted."""
SHARES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.001)
"""Of the pairs, through which the lines are drawn, each from a tenth of it."""
ANSWERS = 20_000_000
"""That many bytes, about, may the answers of one search take, even if all photos are alike."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Radius:
    """How far apart near-duplicates may be."""

    bits: int
    """Of 256; -1 if the photos of the set are too much alike for any."""
    expected_false: float
    """How many pairs of unlike photos are expected within it, in the whole set; less than 1."""


@dataclass(frozen=True)
class Pairs:
    """Near-duplicates, each pair once: indices `first` < `second`, int64 [P], in order."""

    first: Indices
    second: Indices
    distance: NDArray[np.int32]
    """Bits, of 256."""

    def among(self, chosen: NDArray[np.bool_]) -> Self:
        """The pairs of which both are chosen, bool [photos]."""
        kept = chosen[self.first] & chosen[self.second]
        return type(self)(self.first[kept], self.second[kept], self.distance[kept])

    def both_ways(self) -> Iterator[tuple[int, int]]:
        """Every pair as either sees it, the nearest last."""
        for each in np.argsort(-self.distance, kind="stable"):
            yield int(self.first[each]), int(self.second[each])
            yield int(self.second[each]), int(self.first[each])

    def graph(self, photos: int) -> csr_matrix:
        """The pairs as the symmetric adjacency matrix [photos, photos]."""
        ones = np.ones(len(self.first), np.int8)
        half = coo_matrix((ones, (self.first, self.second)), shape=(photos, photos))
        return (half + half.T).tocsr()


def choose_radius(hashes: Hashes) -> Radius:
    """The largest radius within which fewer than one pair of unlike photos is expected.

    The logarithm of the share of pairs within a distance is a concave function of the distance, as
    far as the pairs are of unlike photos; a straight line through two of its points lies above it
    further down, and so overrates how many are expected. The line through the nearest pairs is the
    sharpest, but that is where the near-duplicates are. So the first line is drawn far from them;
    the photos that are near-duplicates by its radius count as one from then on, and the next line
    is drawn closer, down to one pair in a thousand.

    Args:
        hashes: of all photos, uint8 [N, HASHES, 32], in an order that says nothing about them.
    """
    known = np.flatnonzero(hashes.any(axis=(1, 2)))
    pairs_in_all = len(known) * (len(known) - 1) / 2
    apart = _distances(hashes[known[:SAMPLE]])
    radius = Radius(-1, 0.0)
    for share in SHARES:
        first, second = np.nonzero(np.triu(apart <= radius.bits, k=1))
        alike = Pairs(first, second, apart[first, second])
        kept = np.unique(find_leaders(alike, len(apart)))
        sharper = _Tail.of(apart[np.ix_(kept, kept)]).extrapolate(share, pairs_in_all)
        radius = max(radius, sharper, key=lambda each: each.bits)
    return radius


def find_pairs(hashes: Hashes, radius: int) -> Pairs:
    """All pairs within a radius, by faiss' exact search.

    Args:
        hashes: uint8 [N, HASHES, 32]; all-zero ones are like no other.
        radius: bits; negative finds nothing.

    Returns:
        The pairs. Memory is that of the hashes, of the pairs, and of one search's answers.
    """
    found = [np.zeros((0, 3), np.int64)]
    if radius >= 0:
        found += (block for block, _ in search(hashes, radius))
    first, second, distance = _nearest_of_each(np.concatenate(found)).T
    return Pairs(first, second, distance.astype(np.int32))


def search(hashes: Hashes, radius: int) -> Iterator[tuple[Indices, int]]:
    """Looks for the near-duplicates of a few photos at a time, in their order.

    Args:
        hashes: as in `find_pairs`.
        radius: bits.

    Yields:
        int64 [P, 3]: the lower and the higher index of a pair, and its distance; and how many
        photos were looked for. A pair may come twice, when either is looked for.
    """
    known = np.flatnonzero(hashes.any(axis=(1, 2)))
    index = faiss.IndexBinaryFlat(BITS)
    index.add(np.ascontiguousarray(hashes[known, :INDEXED]).reshape(-1, BYTES))
    block = max(1, ANSWERS // (12 * len(ASKED) * max(1, index.ntotal)))
    for start in range(0, len(known), block):
        members = known[start : start + block]
        queries = np.ascontiguousarray(hashes[members][:, ASKED]).reshape(-1, BYTES)
        limits, distances, rows = index.range_search(queries, radius + 1)
        one = np.repeat(np.repeat(members, len(ASKED)), np.diff(limits).astype(np.int64))
        other = known[rows // INDEXED]
        apart = one != other
        low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
        found = np.stack([low, high, distances[apart].astype(np.int64)], axis=1)
        yield _nearest_of_each(found), len(members)


def find_leaders(pairs: Pairs, photos: int) -> Indices:
    """For each photo the one that stands for its group, int64 [photos].

    A photo with the most near-duplicates leads, and all of them that have no leader yet join it. So
    all of a group are near-duplicates of one photo, and no chain of small steps leads from it to
    one that is unlike it.
    """
    graph = pairs.graph(photos)
    degrees = np.diff(graph.indptr)
    leaders = np.full(photos, -1, np.int64)
    for photo in np.argsort(-degrees, kind="stable"):
        if leaders[photo] < 0:
            neighbours = graph.indices[graph.indptr[photo] : graph.indptr[photo + 1]]
            leaders[neighbours[leaders[neighbours] < 0]] = photo
            leaders[photo] = photo
    return leaders


def find_components(pairs: Pairs, photos: int) -> Indices:
    """Numbers the sets of photos that pairs connect, however indirectly, int64 [photos]."""
    return connected_components(pairs.graph(photos), directed=False)[1].astype(np.int64)


def _nearest_of_each(found: Indices) -> Indices:
    """Each pair once, with the smallest of its distances."""
    found = found[np.lexsort((found[:, 2], found[:, 1], found[:, 0]))]
    new = np.ones(len(found), bool)
    new[1:] = (found[1:, :2] != found[:-1, :2]).any(axis=1)
    return found[new]


def _distances(hashes: Hashes) -> NDArray[np.int32]:
    """How far apart all photos are from each other, bits, int32 [N, N]."""
    indexed = np.ascontiguousarray(hashes[:, :INDEXED]).reshape(-1, BYTES)
    found = np.empty((len(ASKED), len(indexed)), np.int32)
    nearest = np.empty((len(hashes), len(hashes)), np.int32)
    hammings = faiss.hammings  # type: ignore[attr-defined]  # its stubs leave it out
    others, into = faiss.swig_ptr(indexed), faiss.swig_ptr(found)
    for photo, asked in enumerate(np.ascontiguousarray(hashes[:, ASKED])):
        hammings(faiss.swig_ptr(asked), others, len(asked), len(indexed), BYTES, into)
        nearest[photo] = found.min(axis=0).reshape(-1, INDEXED).min(axis=1)
    return np.minimum(nearest, nearest.T)


@dataclass(frozen=True)
class _Tail:
    """How many of some pairs of photos are within each distance."""

    counts: NDArray[np.int64]
    """[BITS + 1]"""
    pairs: int

    @classmethod
    def of(cls, apart: NDArray[np.int32]) -> Self:
        """The tail of the distances between photos, int32 [N, N]."""
        each_once = apart[np.triu_indices(len(apart), k=1)]
        return cls(np.cumsum(np.bincount(each_once, minlength=BITS + 1)), len(each_once))

    def extrapolate(self, share: float, pairs_in_all: float) -> Radius:
        """The radius by a straight line through the tenfold range of shares that ends with `share`.

        Where so small a share is too few to count, the range begins with `FEWEST` pairs.
        """
        lowest = max(share / 10 * self.pairs, FEWEST)
        distances = np.flatnonzero((self.counts >= lowest) & (self.counts <= 10 * lowest))
        if len(np.unique(self.counts[distances])) < 2:
            return Radius(-1, 0.0)
        counts = self.counts[distances]
        slope, start = np.polyfit(
            distances, np.log(counts * (pairs_in_all / self.pairs)), 1, w=np.sqrt(counts)
        )
        bits = math.ceil(-start / slope) - 1  # the last before the line reaches one pair
        if bits < 0:
            return Radius(-1, 0.0)
        return Radius(bits, math.exp(start + slope * bits))
