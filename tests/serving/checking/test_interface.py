"""What clients would miss in another version."""

from dataclasses import replace
from pathlib import Path

import pytest

from serving.checking.interface import Interface, find_breaks, read_interface
from serving.embedded.servable import Signature, TensorInfo
from serving.embedded.status import RequestError
from tests.serving.asking.photo_model import LABELS, write_explaining_model


def signature(**outputs: str) -> Signature:
    inputs = {"image_bytes": TensorInfo("x:0", "string")}
    return Signature("", inputs, {name: TensorInfo("y:0", kind) for name, kind in outputs.items()})


KNOWN = Interface({"serving_default": signature(label="string", dog="float")}, ("happy", "sad"))


@pytest.mark.parametrize(
    ("new", "breaks"),
    [
        (replace(KNOWN, classes=("sad", "happy")), ["classes sad, happy and not happy, sad"]),
        (replace(KNOWN, signatures={}), ["no signature serving_default"]),
        (
            replace(KNOWN, signatures={"serving_default": signature(label="string", dog="half")}),
            ["serving_default does not give dog float"],
        ),
        (
            replace(
                KNOWN,
                signatures={
                    "serving_default": signature(label="string", dog="float", more="bool"),
                    "explain": signature(map="float"),
                },
            ),
            [],
        ),
    ],
)
def test_what_clients_would_miss_is_named_and_what_is_added_is_not(
    new: Interface, breaks: list[str]
) -> None:
    assert find_breaks(KNOWN, new) == breaks


def test_a_model_is_read_with_its_classes(tmp_path: Path) -> None:
    version = tmp_path / "1"
    write_explaining_model(version)
    with pytest.raises(RequestError, match="has no warm-up request"):
        read_interface(version)
    _warm_up(version)
    found = read_interface(version)
    assert found.classes == LABELS
    assert found.signatures.keys() == {"serving_default", "explain"}
    assert found.signatures["serving_default"].types == {"image_bytes": "string"}


def _warm_up(version: Path) -> None:
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    from data.contract.servable import WARM_UP
    from data.drawn_dogs import draw_photo

    request = predict_pb2.PredictRequest()
    photo = draw_photo("happy", np.random.default_rng(0))
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([photo], tf.string))
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    (version / WARM_UP).parent.mkdir()
    with tf.io.TFRecordWriter(str(version / WARM_UP)) as writer:
        writer.write(log.SerializeToString())
