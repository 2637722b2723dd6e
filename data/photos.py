"""One photo file's bytes to trusted pixels: checked, upright, RGB, at most 512 pixels a side."""

import hashlib
import io
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data.contract.images import LONGEST_SIDE, MAX_FILE_PIXELS, bounded_size
from data.errors import DataError, MemoryShortageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MAX_BYTES = 50 * 2**20
JPEG_QUALITY = 95
"""At the model's 224 pixels, the second compression then changes a value by 0.4 of 255 on average
(quality 90: 0.6), for twice the bytes of the photos it was measured on."""

LEAST_JPEG_BYTES = 1 / 1024
"""For each pixel. A block of 8 x 8 pixels takes a bit at the least in Huffman's code (ITU-T T.81,
F.1.2), be it plain white; half of that leaves room for odd subsampling. What has less ends early,
and a decoder makes the rest of it up in grey."""

Pixels = NDArray[np.uint8]

BIT_FIELDS = 3
"""The compression code of a bitmap whose masks tell where in a pixel each colour is."""

# Pillow reads headers here, and the pixels of bitmaps with bit fields; the bound on the number of
# pixels is ours, and its message states the size.
Image.MAX_IMAGE_PIXELS = None
# A broken file is an expected input that gets its reason from us, not from a library's log.
warnings.filterwarnings("ignore", module=r"PIL\.")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True)
class PreparedPhoto:
    """A photo as the records hold it.

    `jpeg` is RGB and upright, its longest side at most 512 pixels. All else is of the upright
    pixels at full size: their `width` and `height`, their mean luma and their hash.
    """

    jpeg: bytes
    width: int
    height: int
    brightness: float
    pixel_sha256: str


def read_photo(path: Path) -> bytes:
    """Bytes of a photo file, of at most 50 MB.

    Raises:
        DataError: the file cannot be read or is too large; the message is just the reason.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait forever
            raise DataError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise DataError(f"larger than {MAX_BYTES // 2**20} MB")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("no such file") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None


def decode_photo(content: bytes) -> Pixels:
    """Upright RGB pixels, uint8 [height, width, 3], of a JPEG, PNG, WebP, BMP or GIF file.

    Grey, CMYK, palette and 16-bit pictures become RGB; transparent parts become white; an
    animation gives its first frame. Size and format are checked before a pixel is decoded.

    Raises:
        DataError: the photo cannot be used; the message is just the reason.
    """
    if not content:
        raise DataError("empty file")
    if len(content) > MAX_BYTES:
        raise DataError(f"larger than {MAX_BYTES // 2**20} MB")
    try:
        header = _check_header(content)
        image = _read_bit_fields(content) if header.has_bit_fields else _read_pixels(content)
        if image is None:
            raise DataError("truncated or damaged")
        return _turn_upright(_to_rgb(_to_uint8(image)), header.orientation)
    except MemoryError:
        raise MemoryShortageError("not enough memory to decode it") from None


def bound_side(image: Pixels, longest: int = LONGEST_SIDE) -> Pixels:
    """The image with its longest side at most `longest` pixels; a smaller one is left as it is."""
    height, width = image.shape[:2]
    size = bounded_size(width, height, longest)
    if size == (width, height):
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(image: Pixels) -> bytes:
    """JPEG bytes of RGB pixels, uint8 [height, width, 3]."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def prepare_photo(content: bytes) -> PreparedPhoto:
    """A photo file's bytes as training and prediction use them.

    Raises:
        DataError: the photo cannot be used; the message is just the reason.
    """
    upright = decode_photo(content)
    return PreparedPhoto(
        jpeg=encode_jpeg(bound_side(upright)),
        width=upright.shape[1],
        height=upright.shape[0],
        brightness=mean_luma(upright),
        pixel_sha256=hash_pixels(upright),
    )


def mean_luma(image: Pixels) -> float:
    """The mean of Rec. 601 luma over an RGB image, uint8 [height, width, 3], from 0 to 255."""
    red, green, blue, _ = cv2.mean(image)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def hash_pixels(image: Pixels) -> str:
    """Hexadecimal SHA-256 of an image's shape and pixels: equal only for exact copies."""
    digest = hashlib.sha256(str(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Header:
    orientation: int
    """As EXIF has it, 1 to 8."""
    has_bit_fields: bool
    """Whether it belongs to a bitmap whose masks tell where in a pixel each colour is."""


def _check_header(content: bytes) -> _Header:
    """What has to be known about a file, once its header shows an allowed format and size."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as header:
            width, height = header.size
            orientation = Image.Image.getexif(header).get(0x0112, 1)
            ends_early = (
                header.format == "JPEG" and len(content) < LEAST_JPEG_BYTES * width * height
            )
            has_bit_fields = header.format == "BMP" and header.info["compression"] == BIT_FIELDS
            if width * height <= MAX_FILE_PIXELS:
                header.verify()
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise DataError("not a JPEG, PNG, WebP, BMP or GIF image") from None
    except Exception:  # Pillow's readers answer broken headers with exceptions of every kind.
        raise DataError("truncated or damaged") from None
    if width * height > MAX_FILE_PIXELS:
        limit = f"at most {MAX_FILE_PIXELS // 10**6} million"
        raise DataError(f"too many pixels ({width}x{height}, {limit})")
    if ends_early:
        raise DataError(f"truncated: {len(content)} bytes are too few for {width}x{height} pixels")
    return _Header(orientation if orientation in range(1, 9) else 1, has_bit_fields)


def _read_pixels(content: bytes) -> NDArray[Any] | None:
    """OpenCV's pixels: grey, BGR or BGRA, 8 or 16 bits each; None if the file is damaged."""
    try:
        # UNCHANGED keeps the alpha channel, and leaves the orientation to us.
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError from None
        return None


def _read_bit_fields(content: bytes) -> NDArray[Any] | None:
    """The same for a bitmap with bit fields, from Pillow.

    OpenCV overlooks the masks behind a short header, and then takes every fourth byte for alpha.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("BMP",)) as image:
            if _has_alpha_mask(content):
                return cv2.cvtColor(np.asarray(image.convert("RGBA")), cv2.COLOR_RGBA2BGRA)
            return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
    except MemoryError:
        raise
    except Exception:  # As with headers.
        return None


def _has_alpha_mask(bitmap: bytes) -> bool:
    """Whether the header is long enough for a fourth mask (version 3 and later) and has one."""
    (header_size,) = struct.unpack_from("<I", bitmap, 14)
    return header_size >= 56 and any(bitmap[66:70])


def _to_uint8(image: NDArray[Any]) -> Pixels:
    return (image // 256 if image.dtype == np.uint16 else image).astype(np.uint8, copy=False)


def _to_rgb(image: Pixels) -> Pixels:
    """RGB from OpenCV's grey [H,W], BGR [H,W,3] or BGRA [H,W,4], the last over white."""
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)
    if image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    colour = image[..., 2::-1].astype(np.uint16)
    alpha = image[..., 3:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _turn_upright(image: Pixels, orientation: int) -> Pixels:
    """Undo the EXIF orientation (tag 0x0112 of the EXIF standard: where row 0 and column 0 are)."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
