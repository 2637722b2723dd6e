"""The records of a span, read back."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from data.contract import features


class Record(NamedTuple):
    """One photo, as a span holds it."""

    split: str
    jpeg: bytes
    label: str
    sha256: str
    """Hexadecimal, of the photo file's bytes."""


def read_records(span: Path) -> Iterator[Record]:
    """All records of a span, split by split, in the order of its files."""
    for split in features.SPLITS:
        shards = sorted(map(str, span.glob(f"{split}-*.tfrecord.gz")))
        for record in tf.data.TFRecordDataset(shards, "GZIP").as_numpy_iterator():
            values = tf.train.Example.FromString(record).features.feature
            jpeg, label, sha256 = (
                values[key].bytes_list.value[0]
                for key in (features.IMAGE, features.LABEL, features.SHA256)
            )
            yield Record(split, jpeg, label.decode(), sha256.decode())
