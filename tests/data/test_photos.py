import io
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from data import photos
from data.errors import DataError
from data.photos import bound_side, decode_photo, encode_jpeg, prepare_photo, read_photo

Save = Callable[..., bytes]

ORIENTATION = 0x0112


@pytest.fixture
def scene() -> Image.Image:
    """A smooth picture, 48 wide and 32 high, that looks different however it is turned."""
    x, y = np.meshgrid(np.linspace(0, 1, 48), np.linspace(0, 1, 32))
    return Image.fromarray((np.stack([x, y, x * y], 2) * 255).astype(np.uint8))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(
    save: Save, scene: Image.Image, orientation: int, image_format: str
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = save(scene, image_format, exif=exif, quality=95)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
    image = decode_photo(content)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 1.5


def test_unknown_orientation_is_ignored(save: Save, scene: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 9
    assert decode_photo(save(scene, exif=exif)).shape == (32, 48, 3)


def flat(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (20, 10), colour)  # type: ignore[arg-type]


def palette(*colours: int) -> Image.Image:
    image = flat("P", 1)
    image.putpalette(bytes(colours))
    return image


@pytest.mark.parametrize(
    ("image", "image_format", "expected"),
    [
        (flat("RGB", (250, 20, 90)), "PNG", (250, 20, 90)),
        (flat("RGB", (250, 20, 90)), "BMP", (250, 20, 90)),
        (flat("RGB", (250, 20, 90)), "JPEG", (250, 20, 90)),
        (flat("RGB", (250, 20, 90)), "WEBP", (250, 20, 90)),
        (flat("1", 1), "PNG", (255, 255, 255)),
        (flat("L", 77), "JPEG", (77, 77, 77)),
        (flat("L", 77), "BMP", (77, 77, 77)),
        (flat("LA", (51, 51)), "PNG", (214, 214, 214)),
        (flat("I;16", 77 * 257), "PNG", (77, 77, 77)),
        (flat("CMYK", (255, 0, 0, 0)), "JPEG", (0, 255, 255)),
        (flat("CMYK", (0, 0, 0, 155)), "JPEG", (100, 100, 100)),
        (flat("RGBA", (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (flat("RGBA", (255, 0, 100, 51)), "PNG", (255, 204, 224)),
        (flat("RGBA", (255, 0, 100, 255)), "WEBP", (255, 0, 100)),
        (palette(0, 0, 0, 250, 20, 90), "PNG", (250, 20, 90)),
        (palette(0, 0, 0, 250, 20, 90), "GIF", (250, 20, 90)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_every_colour_mode_becomes_rgb(
    save: Save, image: Image.Image, image_format: str, expected: tuple[int, int, int]
) -> None:
    pixels = decode_photo(save(image, image_format))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (10, 20, 3)
    np.testing.assert_allclose(pixels[5, 10], expected, atol=3)


def test_transparent_palette_entry_is_white(save: Save) -> None:
    content = save(palette(0, 0, 0, 250, 20, 90), "GIF", transparency=1)
    assert decode_photo(content)[5, 10].tolist() == [255, 255, 255]


def test_sixteen_bit_colour(save: Save) -> None:
    row = np.tile(np.array([250 * 257, 20 * 257, 90 * 257], ">u2"), 4)
    content = save_png(4, 1, bits=16, data=b"\0" + row.tobytes())
    assert decode_photo(content)[0].tolist() == [[250, 20, 90]] * 4


RED, GREEN, BLUE, ALPHA = 0xFF0000, 0xFF00, 0xFF, 0xFF000000


def save_bmp(
    pixel: bytes, masks: tuple[int, ...] = (), *, header: int = 40, bit_fields: bool = True
) -> bytes:
    """A BMP file of 4x2 equal pixels, its masks in the header if that is long enough for them."""
    data = pixel * 8
    bits = len(pixel) * 8
    compression = 3 if bit_fields else 0
    start = struct.pack("<IiiHHIIiiII", header, 4, 2, 1, bits, compression, len(data), 0, 0, 0, 0)
    fields = b"".join(struct.pack("<I", mask) for mask in masks)
    start += fields.ljust(header - 40, b"\0")
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(start)) + start + data


@pytest.mark.parametrize("fourth", [0, 128, 255])
@pytest.mark.parametrize(
    ("masks", "header", "bit_fields"),
    [
        ((RED, GREEN, BLUE), 40, True),
        ((RED, GREEN, BLUE), 52, True),
        ((RED, GREEN, BLUE, 0), 56, True),
        ((RED, GREEN, BLUE, 0), 108, True),
        ((RED, GREEN, BLUE, 0), 124, True),
        ((0, 0, 0, 0), 40, True),
        ((0, 0, 0, 0), 108, True),
        ((), 40, False),
        ((RED, GREEN, BLUE, ALPHA), 124, False),
    ],
)
def test_fourth_byte_of_a_bitmap_is_not_alpha_unless_a_mask_says_so(
    masks: tuple[int, ...], header: int, bit_fields: bool, fourth: int
) -> None:
    pixel = bytes([90, 20, 250, fourth])
    image = decode_photo(save_bmp(pixel, masks, header=header, bit_fields=bit_fields))
    assert image.tolist() == [[[250, 20, 90]] * 4] * 2


@pytest.mark.parametrize("header", [56, 108, 124])
@pytest.mark.parametrize(
    ("alpha", "expected"), [(0, [255] * 3), (51, [254, 208, 222]), (255, [250, 20, 90])]
)
def test_alpha_mask_of_a_bitmap_counts(header: int, alpha: int, expected: list[int]) -> None:
    pixel = bytes([90, 20, 250, alpha])
    image = decode_photo(save_bmp(pixel, (RED, GREEN, BLUE, ALPHA), header=header))
    assert image[0, 0].tolist() == expected


@pytest.mark.parametrize("header", [40, 52, 56, 108, 124])
@pytest.mark.parametrize(
    ("pixel", "masks", "expected"),
    [
        (bytes([0, 90, 20, 250]), (0xFF000000, 0xFF0000, 0xFF00), [250, 20, 90]),
        (bytes([90, 20, 0, 250]), (0xFF000000, 0xFF00, 0xFF), [250, 20, 90]),
        (struct.pack("<H", 31 << 11 | 5 << 5 | 11), (0xF800, 0x7E0, 0x1F), [255, 20, 90]),
        (struct.pack("<H", 31 << 10 | 2 << 5 | 11), (0x7C00, 0x3E0, 0x1F), [255, 16, 90]),
    ],
)
def test_masks_of_a_bitmap_say_where_its_colours_are(
    pixel: bytes, masks: tuple[int, ...], expected: list[int], header: int
) -> None:
    assert decode_photo(save_bmp(pixel, masks, header=header))[0, 0].tolist() == expected


def test_cut_bitmap_with_masks_is_refused() -> None:
    with pytest.raises(DataError, match=r"^truncated or damaged$"):
        decode_photo(save_bmp(bytes([90, 20, 250, 0]), (RED, GREEN, BLUE))[:-2])


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(save: Save, image_format: str) -> None:
    frames = [flat("RGB", (200, 10, 10)), flat("RGB", (10, 200, 10))]
    content = save(frames[0], image_format, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decode_photo(content)[5, 10], (200, 10, 10), atol=4)


def test_empty_file_is_refused() -> None:
    with pytest.raises(DataError, match=r"^empty file$"):
        decode_photo(b"")


@pytest.mark.parametrize(
    "content", [b"only words\n", b"%PDF-1.7\n", b"\0" * 1000, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"]
)
def test_what_is_not_an_image_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^not a JPEG, PNG, WebP, BMP or GIF image$"):
        decode_photo(content)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
def test_truncated_file_is_refused_without_a_word_on_the_terminal(
    save: Save,
    scene: Image.Image,
    image_format: str,
    options: dict[str, bool],
    capfd: pytest.CaptureFixture[str],
) -> None:
    content = save(scene, image_format, **options)
    for size in (*range(100, len(content) - 10, 41), len(content) - 10):
        with pytest.raises(DataError, match=r"truncated or damaged|not a JPEG"):
            decode_photo(content[:size])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_two_missing_bytes_are_noticed(save: Save, scene: Image.Image, image_format: str) -> None:
    with pytest.raises(DataError, match="truncated or damaged"):
        decode_photo(save(scene, image_format)[:-2])


def test_jpeg_that_ends_properly_but_far_too_early_is_refused(save: Save) -> None:
    """The header of a huge photo, and the pixels of a small one: decoders make the rest grey."""
    content = save(Image.new("RGB", (64, 48), "brown"), "JPEG")
    small, huge = struct.pack(">HH", 48, 64), struct.pack(">HH", 9_900, 10_000)
    assert content.count(small) == 1
    with pytest.raises(DataError, match=r"^truncated: \d+ bytes are too few for 10000x9900 "):
        decode_photo(content.replace(small, huge))


@pytest.mark.parametrize("options", [{"quality": 1}, {"progressive": True, "optimize": True}])
def test_jpeg_of_a_plain_surface_is_small_and_accepted(
    save: Save, options: dict[str, object]
) -> None:
    content = save(Image.new("L", (4_000, 3_000), 255), "JPEG", **options)
    assert decode_photo(content).shape == (3_000, 4_000, 3)


def test_file_with_something_appended_is_accepted(save: Save, scene: Image.Image) -> None:
    motion_photo = save(scene, "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40
    assert decode_photo(motion_photo).shape == (32, 48, 3)


def save_png(width: int, height: int, *, bits: int = 8, data: bytes = b"") -> bytes:
    """An RGB PNG file whose header may promise more than its data holds."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [12_000, 100_000])
def test_absurd_size_is_refused_from_the_header(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.photos.cv2.imdecode", lambda *_: pytest.fail("a pixel was decoded"))
    with pytest.raises(DataError, match=rf"^too many pixels \({side}x{side}, at most 100 million"):
        decode_photo(save_png(side, side))


def test_too_many_bytes_are_refused(
    save: Save, scene: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert photos.MAX_BYTES == 50 * 2**20
    monkeypatch.setattr(photos, "MAX_BYTES", 2**20)
    file = tmp_path / "large.bmp"
    file.write_bytes(save(scene, "BMP") + b"\0" * 2**20)
    with pytest.raises(DataError, match=r"^larger than 1 MB$"):
        read_photo(file)
    with pytest.raises(DataError, match=r"^larger than 1 MB$"):
        decode_photo(file.read_bytes())


def test_unreadable_files_have_their_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"^not a regular file$"):
        read_photo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"^not a regular file$"):
        read_photo(tmp_path)
    with pytest.raises(DataError, match=r"^no such file$"):
        read_photo(tmp_path / "missing.jpg")
    with pytest.raises(DataError, match=r"^cannot be read \(File name too long\)$"):
        read_photo(tmp_path / ("x" * 300))


SHORT_OF_MEMORY = """
import re, resource, sys
from pathlib import Path
from data.errors import MemoryShortageError
from data.photos import decode_photo
content = Path(sys.argv[1]).read_bytes()
used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20, -1))
try:
    decode_photo(content)
except MemoryShortageError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the size in")
@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_lack_of_memory_is_not_blamed_on_the_photo(
    save: Save, tmp_path: Path, image_format: str
) -> None:
    file = tmp_path / "large"
    file.write_bytes(save(Image.new("RGB", (9_000, 9_000)), image_format))
    told = subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(file)],
        cwd=Path(photos.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "not enough memory to decode it\n"


def test_damaged_files_raise_nothing_but_data_errors(save: Save, scene: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    files = [
        save(scene, "JPEG", exif=exif),
        save(scene, "PNG", exif=exif),
        save(scene, "WEBP", exif=exif),
        save(scene, "BMP"),
        save_bmp(bytes([90, 20, 250, 0]), (RED, GREEN, BLUE)),
        save(scene, "GIF"),
    ]
    chance = random.Random(0)
    refused = 0
    for _ in range(1000):
        content = bytearray(chance.choice(files))
        for _ in range(chance.choice((1, 3, 20))):
            content[chance.randrange(min(len(content), 400))] = chance.randrange(256)
        try:
            assert decode_photo(bytes(content)).shape[2] == 3
        except DataError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2000, 1000), (512, 256)),
        ((1000, 2000), (256, 512)),
        ((513, 10), (512, 10)),
        ((512, 512), (512, 512)),
        ((30, 20), (30, 20)),
        ((5000, 1), (512, 1)),
    ],
)
def test_longest_side_is_bounded(size: tuple[int, int], expected: tuple[int, int]) -> None:
    width, height = size
    image = bound_side(np.zeros((height, width, 3), np.uint8))
    assert (image.shape[1], image.shape[0]) == expected


def test_jpeg_keeps_colours_and_their_order(scene: Image.Image) -> None:
    pixels = np.asarray(scene)
    decoded = np.asarray(Image.open(io.BytesIO(encode_jpeg(pixels))))
    assert np.abs(decoded.astype(int) - pixels).mean() < 1.5


def test_prepared_photo_is_an_upright_bounded_jpeg(save: Save, scene: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    content = save(scene.resize((960, 640)), exif=exif)
    prepared = prepare_photo(content)
    with Image.open(io.BytesIO(prepared.jpeg)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (341, 512))
        assert not image.getexif()


def test_the_figures_of_a_photo_are_of_the_whole_of_it_upright(save: Save) -> None:
    picture = Image.new("RGB", (1200, 600), "white")
    picture.paste((255, 0, 0), (0, 0, 300, 600))
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    prepared = prepare_photo(save(picture, "PNG", exif=exif))
    assert (prepared.width, prepared.height) == (600, 1200)
    assert prepared.brightness == pytest.approx(0.75 * 255 + 0.25 * 0.299 * 255)


def test_pixel_hash_knows_copies_whatever_the_file(save: Save, scene: Image.Image) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    files = [
        save(scene, "PNG"),
        save(scene, "PNG", compress_level=1),
        save(scene, "BMP"),
        save(scene, "WEBP", lossless=True),
        save(scene.rotate(180), "PNG", exif=exif),
    ]
    prepared = [prepare_photo(file) for file in files]
    assert len({photo.pixel_sha256 for photo in prepared}) == 1
    assert len(set(files)) == len(files)
    other = scene.copy()
    other.putpixel((0, 0), (1, 1, 1))
    assert prepare_photo(save(other)).pixel_sha256 != prepared[0].pixel_sha256


def test_pixel_hash_tells_shapes_apart(save: Save) -> None:
    wide, high = Image.new("RGB", (8, 2)), Image.new("RGB", (2, 8))
    assert prepare_photo(save(wide)).pixel_sha256 != prepare_photo(save(high)).pixel_sha256
