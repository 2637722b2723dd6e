"""What TFX's nodes have left, read back."""

import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.types import artifact_utils
from tfx.utils import io_utils

from data.contract import features

_FILE = "FeatureStats.pb"


def count_labels(statistics: types.Artifact, split: str) -> dict[str, int]:
    """How many photos of each class StatisticsGen found in a split."""
    file = f"{artifact_utils.get_split_uri([statistics], split)}/{_FILE}"
    (found,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(
        io_utils.read_bytes_file(file)
    ).datasets
    (labels,) = (x for x in found.features if list(x.path.step) == [features.LABEL])
    buckets = labels.string_stats.rank_histogram.buckets
    return {bucket.label: int(bucket.sample_count) for bucket in buckets}


def split_files(examples: types.Artifact, split: str) -> list[str]:
    """The files of a split of Examples, sorted."""
    return sorted(tf.io.gfile.glob(f"{artifact_utils.get_split_uri([examples], split)}/*"))
