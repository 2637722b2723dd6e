"""Which photos are near-duplicates of each other, and how sure that is.

Two photos are near-duplicates if a hash of one is within a radius of the plain or mirrored hash of
the other. How large the radius may be depends on how many photos there are: among twice as many are
four times as many pairs of unlike photos, some of which are alike by chance. It is therefore chosen
from the distances that unlike photos of the same set have.

Frames of a film are all near-duplicates of each other: a thousand make half a million pairs. Such a
burst is kept as a star, each frame paired with one of them, so that what is kept grows with the
photos and not with their pairs.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components

from data.perceptual_hash import ASKED, BYTES, INDEXED, Hashes

BITS = 8 * BYTES
CUSTOMARY = 31
"""Bits within which PDQ's authors call two photos the same, whatever the set. Among photos of dogs,
the line of `choose_radius` falls so low at more than three million of them."""
STARTS = range(CUSTOMARY, 60, 7)
"""Bits within which photos count as one before the first line is drawn."""
SAMPLE = 3_000
"""Photos whose pairs show how far apart unlike photos are."""
FEWEST = 10
"""Pairs from which on a share is trusted."""
SHARES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.001)
"""Of the pairs, through which the lines are drawn, each from a tenth of it."""
ANSWERS = 200_000_000
"""That many bytes, about, may the answers of one search take, even if all photos are alike. Small
searches spend their time on waking threads."""
BURST = 50
"""Near-duplicates of one photo from which on they are kept as a star."""
PENDING = 2_000_000
"""Pairs that are gathered before those that bursts make needless are dropped."""

Indices = NDArray[np.int32]


@dataclass(frozen=True)
class Radius:
    """How far apart near-duplicates may be."""

    bits: int
    """Of 256; at least `CUSTOMARY`."""
    expected_false: float | None
    """How many pairs of unlike photos are expected within it, in the whole set; less than 1. None
    if the photos are too few, or too much like each other, to measure that."""


@dataclass(frozen=True)
class Pairs:
    """Near-duplicates, each pair once: indices `first` < `second`, int32 [P], in order."""

    first: Indices
    second: Indices
    distance: NDArray[np.int32]
    """Bits, of 256."""

    def among(self, chosen: NDArray[np.bool_]) -> Self:
        """The pairs of which both are chosen, bool [photos]."""
        kept = chosen[self.first] & chosen[self.second]
        return type(self)(self.first[kept], self.second[kept], self.distance[kept])

    def both_ways(self) -> tuple[Indices, Indices]:
        """Every pair as either sees it, int32 [2 P] each: one and the other, the nearest last."""
        pairs = np.stack([self.first, self.second], axis=1)
        pairs = pairs[np.argsort(-self.distance, kind="stable")]
        return pairs.ravel(), pairs[:, ::-1].ravel()

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
    sharpest, but that is where the near-duplicates are. So the photos that those within `CUSTOMARY`
    bits connect count as one, and the first line is drawn far from the others; the photos that are
    near-duplicates by its radius count as one from then on, and the next line is drawn closer, down
    to one pair in a thousand.

    Where bursts leave so many near-duplicates that no line reaches `CUSTOMARY`, more bits are
    tried. They are right if the line reaches them in turn: among unlike photos, it stays behind.

    Args:
        hashes: of all photos, uint8 [N, HASHES, 32], in an order that says nothing about them.
    """
    known = np.flatnonzero(hashes.any(axis=(1, 2)))
    pairs_in_all = len(known) * (len(known) - 1) / 2
    apart = _distances(hashes[known[:SAMPLE]])
    for bits in STARTS:
        radius = _sharpen(apart, bits, pairs_in_all)
        if radius:
            return radius
    return Radius(CUSTOMARY, None)


def _sharpen(apart: NDArray[np.int32], bits: int, pairs_in_all: float) -> Radius | None:
    """The radius by lines that are drawn closer and closer; None if none reaches the first bits.

    Args:
        apart: distances between photos, int32 [N, N].
        bits: within which photos count as one, to begin with.
        pairs_in_all: how many pairs there are in the whole set.
    """
    radius = None
    for share in SHARES:
        near = csr_matrix(apart <= bits)
        _, connected = connected_components(near, directed=False)
        order = np.argsort(-np.diff(near.indptr), kind="stable")
        kept = order[np.unique(connected[order], return_index=True)[1]]
        sharper = _Tail.of(apart[np.ix_(kept, kept)]).extrapolate(share, pairs_in_all)
        if sharper and sharper.bits >= bits:
            radius, bits = sharper, sharper.bits
    return radius


def find_pairs(hashes: Hashes, radius: int, kinds: Indices | None = None) -> Pairs:
    """All pairs within a radius, by faiss' exact search; of a burst, those that matter.

    A burst is a photo, its centre, with at least `BURST` near-duplicates of its kind. Each of them
    is paired with the centre instead of with all others, and every photo with the nearest one of
    each burst that it is near to. So the pairs connect the same photos, within a kind and between
    kinds, as all pairs would.

    Args:
        hashes: uint8 [N, HASHES, 32]; all-zero ones are like no other.
        radius: bits; negative finds nothing.
        kinds: of each photo, int32 [N]; those of a kind can stand for one another. By default all
            are of one kind.

    Returns:
        The pairs. Memory is that of the hashes, of the pairs, and of one search's answers.
    """
    kinds = np.zeros(len(hashes), np.int32) if kinds is None else kinds
    centres = np.arange(len(hashes), dtype=np.int32)
    free = np.ones(len(hashes), bool)
    stars, found = [np.zeros((0, 3), np.int32)], [np.zeros((0, 3), np.int32)]
    gathered, limit = 0, PENDING
    for photo, near, distances in search(hashes, radius) if radius >= 0 else ():
        rows = np.stack([np.full_like(near, photo), near, distances], axis=1)
        alike = near[free[near] & (kinds[near] == kinds[photo])]
        if free[photo] and len(alike) >= BURST:
            centres[alike] = photo
            free[alike] = free[photo] = False
            stars.append(rows)
        found.append(rows[centres[near] != centres[photo]])
        gathered += len(found[-1])
        if gathered > limit:
            found = [_thin(np.concatenate(found), centres)]
            gathered, limit = len(found[0]), 2 * len(found[0]) + PENDING
    first, second, distance = _each_once([*stars, _thin(np.concatenate(found), centres)]).T
    return Pairs(first, second, distance)


def search(hashes: Hashes, radius: int) -> Iterator[tuple[int, Indices, NDArray[np.int32]]]:
    """Looks for the near-duplicates of one photo after another.

    Args:
        hashes: as in `find_pairs`.
        radius: bits.

    Yields:
        A photo, and those to which one of its hashes is near: their indices in order, int32 [M],
        and their distances in bits, int32 [M]. Of two photos either may find the other.
    """
    known = np.flatnonzero(hashes.any(axis=(1, 2)))
    index = faiss.IndexBinaryFlat(BITS)
    index.add(np.ascontiguousarray(hashes[known, :INDEXED]).reshape(-1, BYTES))
    block = max(1, ANSWERS // (12 * len(ASKED) * max(1, index.ntotal)))
    nearest = np.full(len(hashes), BITS + 1, np.int32)
    for start in range(0, len(known), block):
        members = known[start : start + block]
        queries = np.ascontiguousarray(hashes[members][:, ASKED]).reshape(-1, BYTES)
        limits, answers, rows = index.range_search(queries, radius + 1)
        others, distances = known[rows // INDEXED], answers.astype(np.int32)
        bounds = limits[:: len(ASKED)].astype(np.int64)
        for photo, begin, end in zip(members, bounds[:-1], bounds[1:], strict=True):
            np.minimum.at(nearest, others[begin:end], distances[begin:end])
            nearest[photo] = BITS + 1
            near = np.flatnonzero(nearest <= radius).astype(np.int32)
            found = nearest[near]
            nearest[near] = BITS + 1
            yield int(photo), near, found


def find_leaders(pairs: Pairs, photos: int) -> Indices:
    """For each photo the one that stands for its group, int32 [photos].

    A photo with the most near-duplicates leads, and all of them that have no leader yet join it. So
    all of a group are near-duplicates of one photo, and no chain of small steps leads from it to
    one that is unlike it.
    """
    graph = pairs.graph(photos)
    degrees = np.diff(graph.indptr)
    leaders = np.full(photos, -1, np.int32)
    for photo in np.argsort(-degrees, kind="stable"):
        if leaders[photo] < 0:
            neighbours = graph.indices[graph.indptr[photo] : graph.indptr[photo + 1]]
            leaders[neighbours[leaders[neighbours] < 0]] = photo
            leaders[photo] = photo
    return leaders


def find_components(pairs: Pairs, photos: int) -> Indices:
    """Numbers the sets of photos that pairs connect, however indirectly, int32 [photos]."""
    return connected_components(pairs.graph(photos), directed=False)[1].astype(np.int32)


def _thin(rows: Indices, centres: Indices) -> Indices:
    """Of pairs and distances, int32 [P, 3], those of each photo with the nearest of each burst.

    Those within a burst are dropped.

    Args:
        rows: the pairs; whichever way round.
        centres: of the burst of each photo, int32 [photos]; the photo itself if it is in none.
    """
    rows = np.concatenate([rows, rows[:, [1, 0, 2]]])
    rows = rows[centres[rows[:, 0]] != centres[rows[:, 1]]]
    return rows[_nearest_of_each(rows[:, 0], centres[rows[:, 1]], rows[:, 2])]


def _each_once(parts: Sequence[Indices]) -> Indices:
    """Pairs and distances, int32 [P, 3] each: each pair once, with the smallest distance."""
    rows = np.concatenate(parts)
    rows[:, :2].sort(axis=1)
    return rows[_nearest_of_each(*rows.T)]


def _nearest_of_each(one: Indices, other: Indices, distance: Indices) -> NDArray[np.intp]:
    """Where the smallest distance between each one and each other is, in their order."""
    order = np.lexsort((distance, other, one))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(one[order]) != 0) | (np.diff(other[order]) != 0)
    return order[new]


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

    def extrapolate(self, share: float, pairs_in_all: float) -> Radius | None:
        """The radius by a straight line through the tenfold range of shares that ends with `share`.

        Where so small a share is too few to count, the range begins with `FEWEST` pairs. None if
        there are not even these, or if the line reaches no distance.
        """
        lowest = max(share / 10 * self.pairs, FEWEST)
        distances = np.flatnonzero((self.counts >= lowest) & (self.counts <= 10 * lowest))
        if len(np.unique(self.counts[distances])) < 2:
            return None
        counts = self.counts[distances]
        slope, start = np.polyfit(
            distances, np.log(counts * (pairs_in_all / self.pairs)), 1, w=np.sqrt(counts)
        )
        bits = math.ceil(-start / slope) - 1  # the last before the line reaches one pair
        if bits < 0:
            return None
        return Radius(bits, math.exp(start + slope * bits))
