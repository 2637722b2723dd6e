"""Where an accuracy of "99 %" comes from: photos that were augmented before they were split.

Takes a few photos of each class and writes ten of each, nine of them changed at random as notebooks
do it (mirrored, turned, zoomed, brighter or darker, more or less contrast). The result is ingested
like any other folder, and `dog-emotion data --prove` says what a random split claims, and what the
model is worth on photos that it has not seen.

    python -m benchmarks.augmented_split PHOTOS
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from components.model.settings import ModelSettings
from data.folder import LabelledPhoto, list_photos
from data.ingest import ingest
from data.photos import Pixels, bound_side, decode_photo, encode_jpeg, read_photo
from pipeline.proof import as_text, prove

ORIGINALS = 50
"""Of each class."""
COPIES = 10
DEGREES = 10.0
ZOOM = 0.1
BRIGHTNESS = 20.0
CONTRAST = 0.2


def augment(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A photo changed at random, uint8 [height, width, 3]."""
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    rows, columns = image.shape[:2]
    degrees, zoom = rng.uniform(-DEGREES, DEGREES), 1 + rng.uniform(-ZOOM, ZOOM)
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, zoom)
    turned = cv2.warpAffine(image, matrix, (columns, rows), borderMode=cv2.BORDER_REFLECT_101)
    mean = float(turned.mean())
    contrast, light = 1 + rng.uniform(-CONTRAST, CONTRAST), rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    return np.clip((turned - mean) * contrast + mean + light, 0, 255).astype(np.uint8)


def write_augmented(photos: list[LabelledPhoto], folder: Path) -> None:
    """Writes the chosen photos and their changed copies as class folders."""
    rng = np.random.default_rng(0)
    for label in sorted({photo.label for photo in photos}):
        (folder / label).mkdir(parents=True)
        of_class = [photo for photo in photos if photo.label == label]
        for number in rng.permutation(len(of_class))[:ORIGINALS]:
            image = bound_side(decode_photo(read_photo(of_class[number].path)))
            for copy in range(COPIES):
                changed = augment(image, rng) if copy else image
                (folder / label / f"{number}-{copy}.jpg").write_bytes(encode_jpeg(changed))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="class folders")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        augmented, records = Path(folder, "augmented"), Path(folder, "records")
        write_augmented(list_photos(options.photos), augmented)
        ingest(augmented, records)
        print(as_text(prove(records, ModelSettings())))


if __name__ == "__main__":
    main()
