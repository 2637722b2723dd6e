"""A sample data set that needs no download: dog faces drawn by OpenCV with four expressions.

The pictures are synthetic and say so. The expression alone depends on the class; coat, markings,
ear shape, pose, light, background and noise are drawn from the same distributions for all, so
that a model has to learn the face. Faces are described in units of half a head's width, x to
the right and y downwards, the origin between the eyes and the nose.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from data.errors import DataError
from data.photos import Pixels

Points = NDArray[np.float64]
Colour = tuple[int, int, int]

OVERSAMPLING = 2
MARKER = ".drawn.json"


@dataclass(frozen=True)
class Expression:
    """What the class decides; angles in degrees, the rest in head units or shares."""

    brow_tilt: float
    """Positive: the inner ends are down."""
    brow_lift: float
    eye_open: float
    ear_angle: float
    """0 points up, 90 to the side, 180 down."""
    ear_length: float
    mouth_curve: float
    """Positive: the corners are up."""
    mouth_open: float
    teeth: bool = False


EXPRESSIONS = {
    "angry": Expression(26, -0.10, 0.72, 108, 0.72, -0.06, 0.24, teeth=True),
    "happy": Expression(-4, 0.08, 1.00, 34, 0.86, 0.16, 0.42),
    "relaxed": Expression(2, 0.00, 0.34, 72, 0.95, 0.07, 0.0),
    "sad": Expression(-26, 0.05, 0.80, 152, 1.10, -0.14, 0.0),
}


@dataclass(frozen=True)
class Coat:
    """Fur colours, RGB."""

    fur: Colour
    light: Colour
    dark: Colour


PICTURE = "|".join(rf"{label}/{label}-\d+\.jpg" for label in EXPRESSIONS)
"""A regular expression of the names of drawn pictures."""

COATS = (
    Coat((201, 150, 84), (240, 214, 168), (140, 92, 44)),  # golden
    Coat((112, 70, 44), (176, 128, 92), (66, 40, 26)),  # chocolate
    Coat((62, 58, 60), (176, 148, 116), (34, 32, 34)),  # black and tan
    Coat((232, 216, 190), (250, 242, 228), (186, 160, 124)),  # cream
    Coat((140, 142, 150), (222, 222, 226), (88, 90, 98)),  # grey
    Coat((178, 96, 48), (246, 232, 214), (116, 58, 28)),  # rust and white
    Coat((238, 236, 232), (252, 250, 248), (96, 84, 76)),  # white with dark ears
)


def draw_dataset(folder: Path, *, per_class: int, seed: int) -> None:
    """Draw `per_class` JPEG faces into each of `folder`'s angry, happy, relaxed and sad.

    The same arguments give the same bytes. A folder that holds exactly these pictures is left
    alone, so that their times do not change; one with other drawn pictures is replaced.

    Raises:
        DataError: the folder holds something else, or cannot be written.
    """
    made_by = {
        "per_class": per_class,
        "seed": seed,
        "code": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        "versions": [np.__version__, cv2.__version__],
    }
    marker, unfinished = folder / MARKER, folder.with_name(f".{folder.name}.unfinished")
    drawn, replaced = unfinished / "drawn", unfinished / "replaced"
    try:
        if marker.is_file():
            if marker.read_bytes() == _describe(folder, made_by).encode():
                return
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} exists and holds no drawn dogs: name an empty folder")
        for file in _list_files(folder):
            if not re.fullmatch(PICTURE, file.relative_to(folder).as_posix()):
                raise DataError(f"{file} was not drawn: move it away, as {folder} is drawn anew")
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a run that was killed
        try:
            for number, label in enumerate(EXPRESSIONS):
                (drawn / label).mkdir(parents=True)
                for index in range(per_class):
                    content = draw_photo(label, np.random.default_rng((seed, number, index)))
                    (drawn / label / f"{label}-{index:04d}.jpg").write_bytes(content)
            (drawn / MARKER).write_text(_describe(drawn, made_by))
            if folder.exists():
                folder.rename(replaced)
            drawn.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise DataError(f"cannot draw into {folder}: {error.strerror or error}") from error


def _list_files(folder: Path) -> list[Path]:
    """Every file that is in a folder, at any depth, but for those that a dot hides."""
    return sorted(
        file for file in folder.rglob("*") if not file.is_dir() and not file.name.startswith(".")
    )


def _describe(folder: Path, made_by: Mapping[str, object]) -> str:
    """What the marker says: how the pictures were made, and which they are."""
    digest = hashlib.sha256()
    for file in _list_files(folder):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return json.dumps({**made_by, "pictures": digest.hexdigest()})


def draw_photo(label: str, rng: np.random.Generator) -> bytes:
    """One picture of a dog with this expression: JPEG bytes, 280 to 400 pixels a side."""
    width, height = (int(side) for side in rng.integers(280, 401, 2))
    canvas = _Canvas(_draw_background(width, height, rng))
    canvas.place_face(rng)
    _draw_dog(canvas, EXPRESSIONS[label], rng)
    image = cv2.resize(canvas.pixels, (width, height), interpolation=cv2.INTER_AREA)
    image = _light(image, rng)
    quality = int(rng.integers(88, 96))
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


class _Canvas:
    """Anti-aliased drawing in head units on an image uint8 [H, W, 3] RGB."""

    SHIFT = 4  # OpenCV takes coordinates as integers with this many fractional bits

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self.matrix = np.eye(2, 3)
        self.unit = 1.0
        """Pixels per head unit."""

    def place_face(self, rng: np.random.Generator) -> None:
        """Choose size, place and tilt of the face."""
        height, width = self.pixels.shape[:2]
        self.unit = min(height, width) * rng.uniform(0.27, 0.36)
        angle = np.deg2rad(rng.normal(0, 9))
        stretch = rng.uniform(0.92, 1.08)
        x, y = width * rng.uniform(0.40, 0.60), height * rng.uniform(0.44, 0.55)
        cosine, sine = np.cos(angle) * self.unit, np.sin(angle) * self.unit
        self.matrix = np.array([[cosine * stretch, -sine, x], [sine * stretch, cosine, y]])

    def fill(self, points: Points, colour: Colour) -> None:
        cv2.fillPoly(self.pixels, [self._to_pixels(points)], colour, cv2.LINE_AA, self.SHIFT)

    def stroke(self, lines: Points, colour: Colour, width: float) -> None:
        """Open lines [..., points, 2] of a width in head units."""
        thickness = max(1, round(width * self.unit))
        places = list(self._to_pixels(lines.reshape(-1, *lines.shape[-2:])))
        cv2.polylines(self.pixels, places, False, colour, thickness, cv2.LINE_AA, self.SHIFT)

    def blend(self, points: Points, colour: Colour, strength: float, blur: float) -> None:
        """Fill with soft edges; `blur` in head units."""
        mask: Pixels = np.zeros(self.pixels.shape[:2], np.uint8)
        cv2.fillPoly(mask, [self._to_pixels(points)], 255, cv2.LINE_AA, self.SHIFT)
        size = 2 * max(1, round(blur * self.unit)) + 1
        for _ in range(2):  # two box filters look like a Gaussian and are faster
            mask = np.asarray(cv2.blur(mask, (size, size)), np.uint8)
        x, y, wide, high = cv2.boundingRect(mask)
        area = np.s_[y : y + high, x : x + wide]
        weight = mask[area][..., None] * np.float32(strength / 255)
        below = self.pixels[area]
        self.pixels[area] = below + (np.array(colour, np.float32) - below) * weight

    def _to_pixels(self, points: Points) -> NDArray[np.int32]:
        place = points @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.rint(place * 2**self.SHIFT).astype(np.int32)


def _draw_dog(canvas: _Canvas, expression: Expression, rng: np.random.Generator) -> None:
    coat = _choose_coat(rng)
    expression = _vary(expression, rng)
    draw_ears = _make_ears(canvas, expression, coat, rng)
    drooping = expression.ear_angle > 120
    _draw_body(canvas, coat, rng)
    if not drooping:
        draw_ears()
    _draw_head(canvas, coat, rng)
    if drooping:
        draw_ears()
    _draw_mouth(canvas, expression, coat, rng)
    _draw_nose(canvas, rng)
    _draw_eyes(canvas, expression, coat, rng)


def _vary(expression: Expression, rng: np.random.Generator) -> Expression:
    """The same expression a little stronger or weaker, as no two dogs make the same face."""
    strength = rng.uniform(0.75, 1.15)
    return replace(
        expression,
        brow_tilt=expression.brow_tilt * strength + rng.normal(0, 3),
        brow_lift=expression.brow_lift + rng.normal(0, 0.02),
        eye_open=float(np.clip(expression.eye_open + rng.normal(0, 0.06), 0.22, 1)),
        ear_angle=expression.ear_angle + rng.normal(0, 9),
        ear_length=expression.ear_length * rng.uniform(0.9, 1.1),
        mouth_curve=expression.mouth_curve * strength + rng.normal(0, 0.015),
        mouth_open=expression.mouth_open * strength,
    )


def _choose_coat(rng: np.random.Generator) -> Coat:
    coat = COATS[rng.integers(len(COATS))]
    shift = rng.normal(0, 7, 3)
    return Coat(*(_shift(colour, shift) for colour in (coat.fur, coat.light, coat.dark)))


def _shift(colour: ArrayLike, amount: ArrayLike) -> Colour:
    red, green, blue = (int(value) for value in np.clip(np.add(colour, amount), 0, 255))
    return red, green, blue


def _make_ears(
    canvas: _Canvas, expression: Expression, coat: Coat, rng: np.random.Generator
) -> Callable[[], None]:
    """A function that draws both ears; when, in front of the head or behind, is another matter."""
    roundness = rng.uniform(0, 1)
    width = rng.uniform(0.33, 0.44)
    length = expression.ear_length * rng.uniform(0.85, 1.1)
    dark = bool(rng.random() < 0.5)
    colour = coat.dark if dark else _shift(coat.fur, -14)
    inner = _shift(coat.light, -60) if dark else _shift(coat.light, (-10, -40, -40))
    angles = expression.ear_angle + rng.normal(0, 5, 2)
    tip = 0.15 + 0.55 * roundness
    outline = _mirror([(0, -1), (tip, -0.85), (1, -0.3), (1, 0.1), (0, 0.25)])
    ear = _smooth(outline * (width, length))
    hollow = _smooth(_place(outline * (width * 0.55, length * 0.72), 0, (0, -0.06)))

    def draw() -> None:
        for side, angle in zip((-1, 1), angles, strict=True):
            base = (side * 0.66, -0.62)
            canvas.fill(_place(ear, side * angle, base), colour)
            if angle < 120:  # a drooping ear shows its back
                canvas.fill(_place(hollow, side * angle, base), inner)

    return draw


def _draw_body(canvas: _Canvas, coat: Coat, rng: np.random.Generator) -> None:
    """Neck and chest, out of the picture at the bottom; often a collar."""
    neck, chest = rng.uniform(0.56, 0.70), rng.uniform(1.0, 1.3)
    body = _mirror([(0, 0.2), (neck, 0.3), (neck, 1.1), (chest, 1.9), (chest * 1.2, 4), (0, 4.2)])
    canvas.fill(_smooth(body), _shift(coat.fur, -38))
    if rng.random() < 0.5:
        canvas.blend(_ellipse(0, 2.1, 0.42, 0.9), coat.light, 0.9, 0.08)
    if rng.random() < 0.6:
        band = _bend([(-neck - 0.04, 1.08), (0, 1.46), (neck + 0.04, 1.08)])
        colour = _choose_colour(rng, (110, 200), (110, 220))
        canvas.stroke(band, colour, 0.14)
        canvas.fill(_ellipse(0, 1.40, 0.10, 0.10), (226, 196, 96))


def _draw_head(canvas: _Canvas, coat: Coat, rng: np.random.Generator) -> None:
    cheek, chin = rng.uniform(0.86, 1.0), rng.uniform(0.98, 1.1)
    crown = [(0, -0.92), (0.45, -0.88), (0.80, -0.56), (0.92, -0.05)]
    jaw = [(0.90, 0.36), (0.62, 0.78), (0.3, 1.0), (0, 1.04)]
    head = _smooth(_mirror(crown + jaw) * (cheek, chin))
    canvas.fill(head, _shift(coat.fur, -24))
    canvas.blend(head * 0.9, coat.fur, 1, 0.12)
    marking = rng.integers(4)
    if marking == 1:  # a blaze down the forehead
        wide = rng.uniform(0.10, 0.20)
        blaze = _mirror([(0, -0.95), (wide, -0.8), (wide * 0.7, -0.2), (wide * 1.6, 0.3), (0, 0.3)])
        canvas.blend(_smooth(blaze), coat.light, 0.95, 0.03)
    elif marking == 2:  # a patch over one eye
        side = rng.choice((-1, 1))
        canvas.blend(_ellipse(side * 0.42, -0.2, 0.34, 0.40, side * 20), coat.dark, 0.9, 0.04)
    elif marking == 3:  # a dark forehead
        canvas.blend(_ellipse(0, -0.62, 0.62, 0.30), coat.dark, 0.7, 0.12)
    for tone in (-22, -12, 12, 22):  # fur, combed away from the nose
        angle, reach = rng.uniform(0, 2 * np.pi, 45), rng.uniform(0.45, 0.84, 45)
        root = np.stack([np.cos(angle) * cheek, np.sin(angle)], 1) * reach[:, None] * 0.96
        hair = np.stack([root, root * rng.uniform(1.06, 1.13, (45, 1))], 1)
        canvas.stroke(hair, _shift(coat.fur, tone), 0.008)


def _draw_mouth(
    canvas: _Canvas, expression: Expression, coat: Coat, rng: np.random.Generator
) -> None:
    dark, wide = (58, 24, 28), rng.uniform(0.40, 0.48)
    curve, depth = expression.mouth_curve, expression.mouth_open
    corner, middle = 0.58 - curve, 0.60
    lip = _bend([(-wide, corner), (-wide * 0.5, middle + 0.05), (0, middle - 0.03)])
    lip = np.concatenate([lip, lip[::-1] * (-1, 1)])
    if depth:
        jaw = _ellipse(0, middle + depth * 0.45, wide * 0.86, depth * 0.78 + 0.10)
        canvas.fill(jaw, _shift(coat.light, -22))
        below = _bend([(wide, corner), (wide * 0.6, middle + depth * 0.9), (0, middle + depth)])
        inside = np.concatenate([lip, below, below[::-1] * (-1, 1)])
        canvas.fill(inside, dark)
        if expression.teeth:
            _draw_teeth(canvas, lip, middle + depth, wide)
        else:
            tongue = _ellipse(0, middle + depth * 0.78, wide * 0.46, depth * 0.62)
            canvas.fill(tongue, (232, 120, 132))
            line = np.array([(0, middle + depth * 0.35), (0, middle + depth * 1.1)])
            canvas.stroke(line, (200, 88, 104), 0.02)
    for side in (-1, 1):
        canvas.fill(_ellipse(side * wide * 0.46, 0.42, wide * 0.58, 0.25, side * -12), coat.light)
    canvas.fill(_ellipse(0, 0.22, wide * 0.55, 0.28), coat.light)
    canvas.stroke(lip, dark, 0.035)
    canvas.stroke(np.array([(0, 0.30), (0, middle - 0.03)]), dark, 0.03)
    for side in (-1, 1):
        for row in range(3):  # where the whiskers grow
            dot = _ellipse(side * wide * (0.45 + 0.12 * row), 0.40 + 0.05 * (row % 2), 0.016, 0.016)
            canvas.fill(dot, _shift(coat.light, -90))
    if expression.teeth:
        for side in (-1, 1):
            for row in range(2):  # a wrinkled nose
                crease = [(side * 0.08, 0.02 - row * 0.1), (side * 0.26, -0.04 - row * 0.1)]
                canvas.stroke(np.array(crease), _shift(coat.fur, -50), 0.022)


def _draw_teeth(canvas: _Canvas, lip: Points, floor: float, wide: float) -> None:
    white = (250, 248, 236)
    for x in np.linspace(-0.8, 0.8, 9) * wide:
        top = float(np.interp(x, lip[:, 0], lip[:, 1]))
        long = 0.17 if abs(abs(x) - 0.6 * wide) < 0.05 else 0.08
        canvas.fill(np.array([(x - 0.04, top), (x + 0.04, top), (x, top + long)]), white)
    for x in np.linspace(-0.5, 0.5, 6) * wide:
        bottom = floor - 0.05 * (x / wide) ** 2
        canvas.fill(np.array([(x - 0.03, bottom), (x + 0.03, bottom), (x, bottom - 0.06)]), white)


def _draw_nose(canvas: _Canvas, rng: np.random.Generator) -> None:
    colour = ((38, 32, 34), (84, 52, 46))[int(rng.random() < 0.25)]
    wide = rng.uniform(0.17, 0.22)
    nose = _mirror([(0, -0.02), (0.7, -0.06), (1, 0.05), (0.55, 0.18), (0.2, 0.26), (0, 0.28)])
    canvas.fill(_smooth(_place(nose * (wide, 0.75), 0, (0, 0.13))), colour)
    canvas.fill(_ellipse(-wide * 0.3, 0.15, wide * 0.28, 0.025, -8), _shift(colour, 110))


def _draw_eyes(
    canvas: _Canvas, expression: Expression, coat: Coat, rng: np.random.Generator
) -> None:
    iris = ((96, 56, 28), (128, 80, 36), (60, 40, 30), (110, 140, 160))[rng.integers(4)]
    distance, size = rng.uniform(0.36, 0.42), rng.uniform(0.14, 0.17)
    gaze_x, gaze_y = rng.normal(0, 0.02, 2)
    y = -0.16
    for side in (-1, 1):
        x, tilt = side * distance, side * expression.brow_tilt
        canvas.fill(_ellipse(x, y, size * 1.22, size * 1.12), _shift(coat.dark, -18))
        canvas.fill(_ellipse(x, y, size * 1.06, size), (236, 230, 222))
        eye_x, eye_y = x + gaze_x, y + gaze_y
        canvas.fill(_ellipse(eye_x, eye_y, size * 0.82, size * 0.82), iris)
        canvas.fill(_ellipse(eye_x, eye_y, size * 0.48, size * 0.48), (18, 14, 14))
        glint = _ellipse(eye_x - 0.04, eye_y - 0.05, size * 0.2, size * 0.2)
        canvas.fill(glint, (255, 255, 255))
        edge = (x, y - size * 1.15 + 2.3 * size * (1 - expression.eye_open))
        lid = np.array([(-1.5, -1.6), (1.5, -1.6), (1.5, 0), (-1.5, 0)]) * size
        socket = _ellipse(x, y, size * 1.26, size * 1.16)
        canvas.fill(_clip(_place(lid, -0.7 * tilt, edge), socket), _shift(coat.fur, -34))
        lashes = _bend([(-1.1, 0), (0, 0.35), (1.1, 0)]) * size
        canvas.stroke(_place(lashes, -0.7 * tilt, edge), _shift(coat.dark, -30), 0.03)
        brow = _ellipse(x, y - size * 1.55 - expression.brow_lift, 0.19, 0.055, -tilt)
        canvas.fill(brow, _shift(coat.dark, -10))


def _draw_background(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """Two colours running into each other with soft discs in front, oversampled."""
    small, full = (width // 8, height // 8), (width * OVERSAMPLING, height * OVERSAMPLING)
    corners = [_choose_colour(rng, (10, 110), (70, 230)) for _ in range(4)]
    image = np.array(corners, np.uint8).reshape(2, 2, 3)
    image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_LINEAR), np.uint8)
    for _ in range(rng.integers(2, 9)):
        place = (int(rng.integers(small[0])), int(rng.integers(small[1])))
        colour = _choose_colour(rng, (10, 130), (60, 235))
        cv2.circle(image, place, int(rng.integers(2, 9)), colour, -1)
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.5))
    return np.asarray(cv2.resize(soft, full, interpolation=cv2.INTER_LINEAR), np.uint8)


def _choose_colour(
    rng: np.random.Generator, saturation: tuple[int, int], value: tuple[int, int]
) -> Colour:
    hsv = (rng.integers(180), rng.integers(*saturation), rng.integers(*value))
    rgb = cv2.cvtColor(np.array([[hsv]], np.uint8), cv2.COLOR_HSV2RGB)
    return _shift(rgb[0, 0], 0)


def _light(image: NDArray[np.generic], rng: np.random.Generator) -> Pixels:
    """Light from one side, brightness, contrast, colour cast, and the sensor's noise."""
    height, width = image.shape[:2]
    angle, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * np.cos(angle)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None] * np.sin(angle)
    gain = (1 + fall * (across + down) / 2) * rng.normal(1, 0.04, 3)
    contrast, brightness = rng.uniform(0.75, 1.15), rng.normal(0, 16)
    noise = rng.standard_normal((height, width, 1), np.float32) * rng.uniform(1, 8)
    lit = (image * gain.astype(np.float32) - 128) * contrast + (128 + brightness) + noise
    return np.clip(lit, 0, 255).astype(np.uint8)


def _ellipse(x: float, y: float, wide: float, high: float, tilt: float = 0) -> Points:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    points = np.stack([wide * np.cos(angle), high * np.sin(angle)], 1)
    return _place(points, tilt, (x, y))


def _place(points: Points, tilt: float, origin: tuple[float, float]) -> Points:
    """The points turned clockwise by `tilt` degrees, then moved to their new origin."""
    cosine, sine = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
    return np.add(points @ np.array([[cosine, sine], [-sine, cosine]]), origin)


def _mirror(right: list[tuple[float, float]]) -> Points:
    """A symmetric outline from its right half, which starts and ends on the axis."""
    left = [(-x, y) for x, y in right[-2:0:-1]]
    return np.array(right + left, float)


def _smooth(corners: Points, steps: int = 8) -> Points:
    """Closed Catmull-Rom curve through the corners."""
    before, after = np.roll(corners, 1, 0), np.roll(corners, -1, 0)
    beyond = np.roll(corners, -2, 0)
    t = np.arange(steps)[:, None, None] / steps
    curve = 0.5 * (
        2 * corners
        + (after - before) * t
        + (2 * before - 5 * corners + 4 * after - beyond) * t**2
        + (3 * corners - before - 3 * after + beyond) * t**3
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def _bend(corners: list[tuple[float, float]]) -> Points:
    """Quadratic Bezier curve from the first to the last of three corners."""
    start, control, end = np.array(corners)
    t = np.linspace(0, 1, 12)[:, None]
    return start * (1 - t) ** 2 + 2 * control * t * (1 - t) + end * t**2


def _clip(polygon: Points, convex: Points) -> Points:
    """The part of a convex polygon inside another."""
    _, inside = cv2.intersectConvexConvex(polygon.astype(np.float32), convex.astype(np.float32))
    return np.asarray(inside, np.float64).reshape(-1, 2)
