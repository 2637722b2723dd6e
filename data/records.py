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
    group: str
    """Hash of the pixels of the photo that stands for its near-duplicates. In spans without a table
    of photos, from before near-duplicates were looked for, it is of the photo's own pixels."""


def read_records(span: Path) -> Iterator[Record]:
    """All records of a span, split by split, in the order of its files."""
    keys = (features.IMAGE, features.LABEL, features.SHA256, features.GROUP)
    for split in features.SPLITS:
        for shard in sorted(span.glob(f"{split}-*.tfrecord.gz")):
            for example in read_shard(str(shard)):
                values = example.features.feature
                jpeg, *texts = (values[key].bytes_list.value[0] for key in keys)
                yield Record(split, jpeg, *(text.decode() for text in texts))


def read_shard(file: str) -> Iterator[tf.train.Example]:
    """The records of a file, in their order."""
    for record in tf.data.TFRecordDataset(file, "GZIP").as_numpy_iterator():
        yield tf.train.Example.FromString(record)
