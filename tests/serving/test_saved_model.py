"""The engine: the private call of TensorFlow that it stands on, and calls that fail."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.saved_model import SavedModel
from serving.status import Code, RequestError


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
