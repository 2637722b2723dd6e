"""The figures of photos that were sent to a server, to be compared with those trained on."""

import csv
import hashlib
import io
from pathlib import Path

from data.contract import features
from data.contract.images import bounded_size
from data.errors import DataError
from data.folder import list_table, show, walk
from data.photos import prepare_photo, read_photo

SAMPLE = 1000
"""How many photos are read at the most: enough to find a change of a fifth in brightness."""


def tabulate(source: Path) -> str:
    """A CSV table of the photos' brightness, width, height and, if they have any, labels.

    Of more than `SAMPLE` photos, those with the smallest hashes of their names are taken: always
    the same ones. What is no usable photo is passed over, as the server has refused it too.

    Args:
        source: a folder of photos, at any depth, or a CSV file with the columns path,label.

    Returns:
        The table, its columns named like the features of a record.

    Raises:
        DataError: there is no such folder or file, or no usable photo in it.
    """
    try:
        if source.is_dir():
            photos = [(show(file.relative_to(source)), file, "") for file in walk(source)]
        elif source.is_file():
            photos = [(photo.name, photo.path, photo.label) for photo in list_table(source)]
        else:
            raise DataError(f"no photos at {source}: there is no such folder or CSV file")
    except OSError as error:
        raise DataError(f"cannot read {error.filename or source}: {error.strerror}") from error
    photos.sort(key=lambda photo: hashlib.sha256(photo[0].encode()).digest())
    columns = [features.BRIGHTNESS, features.WIDTH, features.HEIGHT]
    labelled = not source.is_dir()
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*columns, features.LABEL] if labelled else columns)
    written = 0
    for _, file, label in photos:
        if written == SAMPLE:
            break
        try:
            photo = prepare_photo(read_photo(file))
        except DataError:
            continue
        figures = [round(photo.brightness, 2), *bounded_size(photo.width, photo.height)]
        writer.writerow([*figures, label] if labelled else figures)
        written += 1
    if not written:
        raise DataError(f"no usable photo in {source}: name photos that were served, or none")
    return table.getvalue()
