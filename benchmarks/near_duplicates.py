"""Measures how looking for near-duplicates grows, from 1,000 photos to 30,000 and a million.

The hashes are synthetic: random bits, and for every twentieth photo a near-duplicate 30 bits away.
Each number is measured in a process of its own. Prints seconds for the radius and for the search,
each as a multiple of those before (search: divided by the square of the numbers, so that 1 is
quadratic), peak memory, and the share of the near-duplicates that were found. Of a million photos,
only so many are looked for as take a minute, and the time for all is derived from that.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.bench import machine
from data.near_duplicates import choose_radius, search
from data.perceptual_hash import BYTES, HASHES, Hashes

PHOTOS = (1_000, 10_000, 30_000, 1_000_000)
LONGEST = 60.0
"""Seconds after which the search is broken off."""
EVERY = 20
BITS_APART = 30
RESULTS = Path(__file__).with_name("near_duplicates.json")


@dataclass(frozen=True)
class Measured:
    """What so many photos took."""

    photos: int
    radius: int
    expected_false: float | None
    radius_seconds: float
    search_seconds: float
    """For all photos."""
    searched: int
    """Photos looked for in the time measured."""
    found: float
    """Share of the near-duplicates among those looked for."""
    peak_mb: float


def synthetic(photos: int) -> Hashes:
    """Hashes uint8 [photos, HASHES, 32]; photo 20 k + 1 is a near-duplicate of photo 20 k."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (photos, HASHES, BYTES), np.uint8)
    flips = np.zeros(8 * BYTES, np.uint8)
    flips[:BITS_APART] = 1
    hashes[1::EVERY] = hashes[0::EVERY] ^ np.packbits(rng.permutation(flips))
    return hashes


def measure(photos: int) -> Measured:
    """Measures in this process."""
    hashes = synthetic(photos)
    start = time.monotonic()
    radius = choose_radius(hashes)
    radius_seconds = time.monotonic() - start
    pairs: set[tuple[int, int]] = set()
    start = time.monotonic()
    searched = 0
    for photo, near, _ in search(hashes, radius.bits):
        pairs |= {(min(photo, other), max(photo, other)) for other in near.tolist()}
        searched += 1
        if time.monotonic() - start > LONGEST:
            break
    seconds = time.monotonic() - start
    planted = [(place, place + 1) for place in range(0, searched - 1, EVERY)]
    return Measured(
        photos=photos,
        radius=radius.bits,
        expected_false=radius.expected_false,
        radius_seconds=radius_seconds,
        search_seconds=seconds * photos / searched,
        searched=searched,
        found=sum(pair in pairs for pair in planted) / len(planted),
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.photos:
        print(json.dumps(asdict(measure(options.photos))))
        return
    rows: list[Measured] = []
    print("   photos  radius   choose   search    growth     peak  found")
    for photos in PHOTOS:
        command = [sys.executable, "-m", "benchmarks.near_duplicates", "--photos", str(photos)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        row = Measured(**json.loads(answer))
        growth = ""
        if rows:
            times, square = row.search_seconds / rows[-1].search_seconds, photos / rows[-1].photos
            growth = f"{times / square**2:.2f}"
        rows.append(row)
        derived = "" if row.searched == photos else f"  (derived from {row.searched:,} photos)"
        print(
            f"{photos:9,}  {row.radius:6}  {row.radius_seconds:5.1f} s  {row.search_seconds:5.1f} s"
            f"  {growth:>8}  {row.peak_mb:4.0f} MB   {row.found:.2f}{derived}",
            flush=True,
        )
    content = {"machine": machine(), "rows": [asdict(row) for row in rows]}
    RESULTS.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
