"""Whatever happens to a photo's bytes, it gives a whole photo or a reason in one line."""

import io
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data import photos
from data.contract.images import LONGEST_SIDE
from data.errors import DataError
from data.perceptual_hash import BYTES, HASHES, hash_changes
from data.photos import PreparedPhoto, decode_photo, prepare_photo

DEADLINE = timedelta(seconds=5)
HEADER = 700
"""Bytes at the beginning, in which the markers and tables of these JPEGs are."""

Mutation = Callable[[bytes], bytes]


def _jpeg(size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    pixels = (np.stack([x, y, x * y], 2) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


MAKES = {
    "baseline": _jpeg((96, 64)),
    "subsampled": _jpeg((97, 63), subsampling=2, quality=30),
    "restarts": _jpeg((96, 64), restart_marker_rows=1),
    "progressive": _jpeg((96, 64), progressive=True),
    "grey": _jpeg((96, 64), "L"),
    "CMYK": _jpeg((96, 64), "CMYK"),
    "turned": _jpeg((96, 64), exif=_turned()),
    "1x1": _jpeg((1, 1)),
    "512x1": _jpeg((512, 1)),
    "1x600": _jpeg((1, 600)),
}


@st.composite
def _mutations(draw: st.DrawFn) -> Mutation:
    """One change, at a place that exists in any file: a share of its length, or in its header."""
    kind = draw(st.sampled_from(["flip", "cut", "double", "insert", "truncate", "marker", "frame"]))
    share = draw(st.floats(0, 1, exclude_max=True))
    in_header = draw(st.booleans())
    length = draw(st.integers(1, 64))
    filling = draw(st.binary(min_size=length, max_size=length))

    def mutate(content: bytes) -> bytes:
        reach = min(HEADER, len(content)) if in_header else len(content)
        at = int(share * reach)
        before, after = content[:at], content[at:]
        if kind == "flip":
            return before + bytes(byte ^ filling[0] for byte in after[:1]) + after[1:]
        if kind == "cut":
            return before + after[length:]
        if kind == "double":
            return before + after[:length] * 2 + after[length:]
        if kind == "insert":
            return before + filling + after
        if kind == "truncate":
            return before
        if kind == "marker":  # another kind of segment where one begins
            start = content.find(b"\xff", at)
            return content[: start + 1] + filling[:1] + content[start + 2 :]
        # The depth, height, width and number of colours that the frame claims.
        frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        place = frame + 4 + int(share * 8)
        return content[:place] + filling[:2] + content[place + 2 :]

    return mutate


def _prepared(content: bytes) -> tuple[PreparedPhoto | None, str]:
    """The photo, or why there is none."""
    try:
        return prepare_photo(content), ""
    except DataError as error:
        return None, str(error)


@given(make=st.sampled_from([*MAKES]), mutations=st.lists(_mutations(), min_size=1, max_size=4))
@settings(max_examples=200, deadline=DEADLINE, derandomize=True, database=None)
def test_a_mutated_jpeg_is_a_whole_photo_or_one_line(make: str, mutations: list[Mutation]) -> None:
    content = MAKES[make]
    for mutate in mutations:
        content = mutate(content)
    photo, reason = _prepared(content)
    assert reason.isprintable()
    if photo is None:
        assert reason
        return
    assert 1 <= photo.width * photo.height <= 100_000_000
    assert 0 <= photo.brightness <= 255
    assert len(bytes.fromhex(photo.pixel_sha256)) == 32
    image = decode_photo(photo.jpeg)
    assert max(image.shape[:2]) == min(LONGEST_SIDE, max(photo.width, photo.height))
    assert hash_changes(image).shape == (HASHES, BYTES)


@pytest.mark.parametrize("make", MAKES)
def test_each_make_is_a_photo_before_it_is_mutated(make: str) -> None:
    photo = prepare_photo(MAKES[make])
    size = (photo.width, photo.height)
    with Image.open(io.BytesIO(MAKES[make])) as image:
        assert size == (image.size[::-1] if make == "turned" else image.size)
    assert hash_changes(decode_photo(photo.jpeg)).shape == (HASHES, BYTES)


MEASURED = """
import resource, sys
from pathlib import Path
from data.errors import DataError
from data.perceptual_hash import hash_changes
from data.photos import decode_photo, prepare_photo
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
hash_changes(decode_photo(prepare_photo(Path(sys.argv[1]).read_bytes()).jpeg))
before = peak()
for file in sys.argv[2:]:
    try:
        hash_changes(decode_photo(prepare_photo(Path(file).read_bytes()).jpeg))
        print("photo")
    except DataError as error:
        print(error)
print((peak() - before) // 1024)
"""


def _claiming(width: int, height: int, make: str) -> bytes:
    """A small JPEG whose frame claims another size."""
    content = MAKES[make]
    frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return content[: frame + 5] + size + content[frame + 9 :]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory in other units")
def test_memory_is_bounded_by_the_largest_photo_allowed(tmp_path: Path) -> None:
    """A progressive JPEG of 100 million pixels takes its coefficients, 6 bytes a pixel, besides.

    What a file that ends properly does not hold of its photo is grey: libjpeg takes it for whole,
    and so do we, if enough bytes follow.
    """
    claims = {
        "most": (65_000, 65_000, "baseline", "too many pixels"),
        "wide": (65_000, 1_538, "baseline", "photo"),
        "progressive": (9_999, 9_999, "progressive", "photo"),
        "over": (10_001, 10_001, "CMYK", "too many pixels"),
    }
    small = tmp_path / "small.jpg"
    small.write_bytes(MAKES["baseline"])
    for name, (width, height, make, _) in claims.items():
        padding = bytes(width * height // 1_000)
        (tmp_path / name).write_bytes(_claiming(width, height, make) + padding)
    told = subprocess.run(
        [sys.executable, "-c", MEASURED, str(small), *(str(tmp_path / name) for name in claims)],
        cwd=Path(photos.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
    )
    *reasons, megabytes = told.stdout.splitlines()
    for reason, (*_, expected) in zip(reasons, claims.values(), strict=True):
        assert reason.startswith(expected)
    assert int(megabytes) < 1_300
