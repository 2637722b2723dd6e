"""Photos, found in the records that hold them."""

from collections.abc import Collection, Iterable

import tensorflow as tf

from components.report.shown import Photo
from data.contract import features


def find_photos(files: Iterable[str], wanted: Collection[str]) -> dict[str, Photo]:
    """The photos in record files, by the SHA-256 of their files: those that are wanted."""
    found: dict[str, Photo] = {}
    records = tf.data.TFRecordDataset(list(files), "GZIP")
    for record in records.as_numpy_iterator():
        if len(found) == len(wanted):
            break
        values = tf.train.Example.FromString(record).features.feature
        jpeg, filename, sha256 = (
            values[key].bytes_list.value[0]
            for key in (features.IMAGE, features.FILENAME, features.SHA256)
        )
        if sha256.decode() in wanted:
            found[sha256.decode()] = Photo(jpeg, filename.decode())
    return found
