"""What a model costs whoever serves it: its size, and the time for one photo."""

import statistics
import time
from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from data.contract.servable import DEFAULT_SIGNATURE, WARM_UP, Cost
from serving.embedded.saved_model import SavedModel
from serving.embedded.servable import Tensor

_REQUESTS = 9


def measure_cost(model: SavedModel, version: Path) -> Cost:
    """Weighs a version of a model and asks it the first of its warm-up requests, which has a photo.

    Args:
        model: has answered its warm-up requests.
        version: its folder.

    Raises:
        RequestError: a request fails.
    """
    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    name, feeds = first_request(version)
    seconds = []
    for _ in range(_REQUESTS):
        started = time.perf_counter()
        model.run(name, feeds)
        seconds.append(time.perf_counter() - started)
    return Cost(size / 1e6, 1000 * statistics.median(seconds))


def first_request(version: Path) -> tuple[str, dict[str, Tensor]]:
    """The signature and the inputs of the first of a version's warm-up requests."""
    record = next(tf.data.TFRecordDataset(str(version / WARM_UP)).as_numpy_iterator())
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    feeds = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
    return request.model_spec.signature_name or DEFAULT_SIGNATURE, feeds
