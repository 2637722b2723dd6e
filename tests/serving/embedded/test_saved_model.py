"""The engine: the private call of TensorFlow that it stands on, and calls that fail."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from data.contract.servable import WARM_UP
from serving.embedded.saved_model import SavedModel, type_name, warm_up
from serving.embedded.status import Code, RequestError


@pytest.fixture(scope="module")
def model(conformance_models: Path) -> SavedModel:
    return SavedModel(conformance_models / "1", 30_000)


def test_the_private_call_is_still_there() -> None:
    assert callable(tf.compat.v1.Session._make_callable_from_options)


def test_a_call_gives_what_the_public_way_gives(
    model: SavedModel, conformance_models: Path
) -> None:
    public = tf.saved_model.load(str(conformance_models / "1")).signatures["both"]
    x, text = np.array([1, 2.5], np.float32), np.array([b"a", b"\x00\xff"], object)
    theirs = {
        name: value.numpy()
        for name, value in public(x=tf.constant(x), text=tf.constant(text)).items()
    }
    ours = model.run("both", {"x": x, "text": text})
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_failed_operation_keeps_its_code(model: SavedModel) -> None:
    with pytest.raises(RequestError) as caught:
        model.run("pairs_only", {"x": np.ones(3, np.float32)})
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_a_call_that_takes_too_long_ends(tmp_path: Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        turns = tf.while_loop(lambda i: i < 10**9, lambda i: [i + 1], [0])[0]
        return {"y": x * module.weight + tf.cast(turns, tf.float32)}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": serve})
    slow = SavedModel(tmp_path / "1", 200)
    with pytest.raises(RequestError) as caught:
        slow.run("serving_default", {"x": np.ones(1, np.float32)})
    assert caught.value.code is Code.DEADLINE_EXCEEDED


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=str(tmp_path)):
        SavedModel(tmp_path, 1000)


def test_an_error_that_repeats_bytes_is_an_error_all_the_same(tmp_path: Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.substr(x, 16, 8), "z": module.weight + 0}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": serve})
    model = SavedModel(tmp_path / "1", 1000)
    with pytest.raises(RequestError) as caught:
        model.run("serving_default", {"x": np.array([b"\x89PNG"], object)})
    assert caught.value.code is Code.INVALID_ARGUMENT


def rename_input(signature: Any) -> None:
    signature.inputs["x"].name = "nowhere:0"


def rename_output(signature: Any) -> None:
    signature.outputs["y"].name = "no name"


@pytest.mark.parametrize("damage", [rename_input, rename_output])
def test_a_signature_of_tensors_that_are_not_there_is_named(
    conformance_models: Path, tmp_path: Path, damage: Callable[[Any], None]
) -> None:
    version = shutil.copytree(conformance_models / "1", tmp_path / "1")
    file = version / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    damage(content.meta_graphs[0].signature_def["serving_default"])
    file.write_bytes(content.SerializeToString())
    with pytest.raises(RequestError, match=f"{version} cannot be loaded: ") as caught:
        SavedModel(version, 1000)
    assert "\n" not in caught.value.message


def test_a_type_that_tensorflow_does_not_know_is_invalid() -> None:
    assert type_name(types_pb2.DT_FLOAT) == "float"
    assert type_name(types_pb2.DT_INVALID) == "invalid"
    assert type_name(77) == "invalid"


def request(**changed: Any) -> bytes:
    """A warm-up request for x = [1.0], changed."""
    tensor = tf.make_tensor_proto([1.0], tf.float32)
    tensor.MergeFrom(tensor_pb2.TensorProto(**changed))
    inputs = predict_pb2.PredictRequest(inputs={"x": tensor})
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=inputs)
    )
    record: bytes = log.SerializeToString()
    return record


@pytest.mark.parametrize(
    "damaged",
    [b"\xff\xff", request(tensor_content=b"123"), request(dtype=77)],
    ids=["no request", "cut off", "unknown type"],
)
def test_a_damaged_warm_up_request_is_named(
    conformance_models: Path, tmp_path: Path, damaged: bytes
) -> None:
    version = shutil.copytree(conformance_models / "1", tmp_path / "1")
    (version / WARM_UP).parent.mkdir()
    with tf.io.TFRecordWriter(str(version / WARM_UP)) as writer:
        writer.write(request())
        writer.write(damaged)
    with pytest.raises(RequestError, match="warm-up request 2 is damaged: ") as caught:
        warm_up(SavedModel(version, 1000), version)
    assert caught.value.code is Code.DATA_LOSS
    assert "\n" not in caught.value.message
