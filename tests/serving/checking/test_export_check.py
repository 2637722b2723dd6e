"""The check of an export: good ones pass, and each kind of bad one fails for its own reason."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from data.contract.servable import WARM_UP
from serving.checking.export_check import check_export
from tests.serving.embedded.models import warm_up_with


def problems(version: Path) -> dict[str, tuple[str, ...]]:
    return {check.name: check.problems for check in check_export(version) if check.problems}


def save(folder: Path, function: Callable[[tf.Tensor], tf.Tensor]) -> Path:
    """A model whose default signature is a function of x, float [N]; with a warm-up request."""
    module = tf.Module()
    module.weight = tf.Variable(2.0)
    module.serve = tf.function(lambda x: {"y": function(x) * module.weight})
    signature = module.serve.get_concrete_function(tf.TensorSpec([None], tf.float32, name="x"))
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    warm_up_with(folder, "serving_default", 1.0)
    return folder


def test_a_good_model_passes_all(tmp_path: Path) -> None:
    version = save(tmp_path / "1", lambda x: x + 1)
    checks = list(check_export(version))
    assert len(checks) == 7
    assert not problems(version)


def test_a_model_that_calls_python_fails(tmp_path: Path) -> None:
    version = save(tmp_path / "1", lambda x: tf.numpy_function(lambda v: v, [x], tf.float32))
    found = problems(version)
    assert "calls Python" in found["operations that TF Serving has"][0]


def test_a_model_of_xla_fails(tmp_path: Path) -> None:
    from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_call_module

    def call(x: tf.Tensor) -> tf.Tensor:
        return xla_call_module([x], version=9, module="", Sout=[[None]], Tout=[tf.float32])[0]

    found = problems(save(tmp_path / "1", call))
    assert "needs XLA" in found["operations that TF Serving has"][0]


def test_a_model_bound_to_a_device_fails(tmp_path: Path) -> None:
    def on_gpu(x: tf.Tensor) -> tf.Tensor:
        with tf.device("/GPU:0"):
            return x + 1

    found = problems(save(tmp_path / "1", on_gpu))
    assert "GPU" in found["no device but the CPU by name"][0]


def test_a_model_that_reads_a_file_of_this_machine_fails(tmp_path: Path) -> None:
    file = tmp_path / "offset.txt"
    file.write_text("1")

    def read(x: tf.Tensor) -> tf.Tensor:
        return x + tf.strings.to_number(tf.io.read_file(str(file)))

    found = problems(save(tmp_path / "1", read))
    assert str(file) in found["no path outside the model"][0]


def test_assets_come_along(tmp_path: Path) -> None:
    """The path of an asset in the graph is replaced when the model is loaded."""
    file = tmp_path / "words.txt"
    file.write_text("a\nb\n")
    initializer = tf.lookup.TextFileInitializer(
        str(file),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    table = tf.lookup.StaticHashTable(initializer, -1)
    module = tf.Module()
    module.table = table
    module.weight = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        found = table.lookup(tf.fill(tf.shape(x), "b"))
        return {"y": module.weight * tf.cast(found, tf.float32)}

    module.serve = serve
    version = tmp_path / "1"
    tf.saved_model.save(module, str(version), signatures={"serving_default": serve})
    warm_up_with(version, "serving_default", 1.0)
    file.unlink()
    assert not problems(version)


def test_a_model_without_warm_up_requests_fails(tmp_path: Path) -> None:
    version = save(tmp_path / "1", lambda x: x)
    shutil.rmtree(version / "assets.extra")
    assert "would wait" in problems(version)["answers its warm-up requests"][0]


def test_a_warm_up_request_that_fails_is_named(tmp_path: Path) -> None:
    version = save(tmp_path / "1", lambda x: tf.reshape(x, [2]))
    found = problems(version)["answers its warm-up requests"][0]
    assert "reshape" in found.lower()


def test_a_damaged_warm_up_request_is_named(tmp_path: Path) -> None:
    version = save(tmp_path / "1", lambda x: x)
    with tf.io.TFRecordWriter(str(version / WARM_UP)) as writer:
        writer.write(b"\xff\xff")
    assert "is damaged" in problems(version)["answers its warm-up requests"][0]


def test_a_tensor_of_no_known_type_is_named(tmp_path: Path) -> None:
    version = save(tmp_path / "1", lambda x: x)
    file = version / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    content.meta_graphs[0].signature_def["serving_default"].inputs["x"].dtype = 77
    file.write_bytes(content.SerializeToString())
    found = problems(version)["signatures that the REST API can serve"]
    assert found == ("input x has the type invalid, which JSON cannot carry",)


def test_an_output_that_json_cannot_carry_is_named(tmp_path: Path) -> None:
    version = save(tmp_path / "1", lambda x: x)
    module = tf.Module()
    module.weight = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cast(module.weight * x, tf.complex64)}

    module.serve = serve
    shutil.rmtree(version)
    tf.saved_model.save(module, str(version), signatures={"serving_default": serve})
    found = problems(version)["signatures that the REST API can serve"]
    assert found == ("output y has the type complex64, which JSON cannot carry",)


def test_another_default_signature_is_named(tmp_path: Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable(2.0)
    tf.saved_model.save(module, str(tmp_path / "1"))
    found = problems(tmp_path / "1")["signatures that the REST API can serve"]
    assert found == ("no signature serving_default; found: __saved_model_init_op",)


@pytest.mark.parametrize("content", [b"", b"damaged", None])
def test_what_is_no_model_fails_at_once(tmp_path: Path, content: bytes | None) -> None:
    version = tmp_path / "1"
    version.mkdir()
    if content is not None:
        (version / "saved_model.pb").write_bytes(content)
    (check,) = check_export(version)
    assert check.problems


@pytest.mark.parametrize("damaged", ["variables.index", "variables.data-00000-of-00001"])
def test_damaged_variables_fail_in_cpp(tmp_path: Path, damaged: str) -> None:
    version = save(tmp_path / "1", lambda x: x)
    (version / "variables" / damaged).write_bytes(b"")
    assert "loads in C++, without Python, elsewhere" in problems(version)
