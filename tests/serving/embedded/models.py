"""A model for the conformance table: signatures of every kind that the REST API knows.

To ask a real server, `python -m tests.serving.embedded.models FOLDER` writes the model and the
`models.config` that TF Serving takes by `--model_config_file`.
"""

import sys
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from data.contract.servable import WARM_UP

NAME = "conformance"
PREDICT = "tensorflow/serving/predict"
DTYPES = {
    "float": tf.float32,
    "double": tf.float64,
    "int8": tf.int8,
    "uint8": tf.uint8,
    "int16": tf.int16,
    "int32": tf.int32,
    "uint32": tf.uint32,
    "int64": tf.int64,
    "uint64": tf.uint64,
    "bool": tf.bool,
    "string": tf.string,
    "half": tf.float16,
}
DIVISORS = {1: 2.0, 2: 4.0}
"""Of the versions: `serving_default` answers x / divisor + 2."""

_v1 = tf.compat.v1


def write_models(folder: Path) -> Path:
    """Writes all versions below `folder/conformance`, and returns that."""
    for version, divisor in DIVISORS.items():
        write_version(folder / NAME / str(version), divisor)
    return folder / NAME


def write_version(folder: Path, divisor: float) -> None:
    """Writes a version with a variable, so that it has a checkpoint."""
    with tf.Graph().as_default(), _v1.Session() as session:
        signatures = _signatures(divisor)
        session.run(_v1.global_variables_initializer())
        builder = _v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, [tf.saved_model.SERVING], signature_def_map=signatures
        )
        builder.save()


def warm_up_with(version: Path, signature: str, value: float) -> None:
    """Gives a version a warm-up request for x = [value]; an empty signature is the default one."""
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([value], tf.float32))
    log = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    file = version / WARM_UP
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())


def _signatures(divisor: float) -> dict[str, Any]:
    weight = _v1.get_variable("divisor", initializer=divisor, use_resource=True)

    x = _v1.placeholder(tf.float32, None, "x")
    signatures = {
        "serving_default": _signature({"x": x}, {"y": x / weight + 2}),
        "total": _signature({"x": x}, {"total": tf.reduce_sum(x)}),
        "uneven": _signature({"x": x}, {"first": x, "second": tf.concat([x, x], 0)}),
        "halves": _signature({"x": x}, {"y": tf.cast(x, tf.float16)}),
        "unwritable": _signature({"x": x}, {"y": tf.cast(x, tf.bfloat16)}),
        "same": _signature({"x": x}, {"a": x, "b": x, "c": x * 2, "d": x * 2}),
        "pairs_only": _signature({"x": x}, {"y": tf.reshape(x, [-1, 2])}),
    }
    for name, dtype in DTYPES.items():
        value = _v1.placeholder(dtype, None, f"value_{name}")
        signatures[f"echo_{name}"] = _signature({"value": value}, {"value": tf.identity(value)})
    text = _v1.placeholder(tf.string, None, "text")
    signatures["bytes"] = _signature({"text": text}, {"text_bytes": tf.identity(text)})
    signatures["both"] = _signature(
        {"x": x, "text": text}, {"twice": x * 2, "text": tf.identity(text)}
    )

    signatures["mixed"] = _signature(
        {"x": x},
        {
            "certain": x > 2,
            "label": tf.strings.as_string(x, precision=1),
            "map": x[:, None, None] * [[1.0, -0.5], [0.25, 0.0]],
        },
    )

    examples = _v1.placeholder(tf.string, [None], "examples")
    parsed = tf.io.parse_example(
        examples, {"x": tf.io.FixedLenFeature([], tf.float32, default_value=0.0)}
    )["x"]
    answer = parsed / weight + 2
    scores = tf.stack([answer, -answer], axis=1)
    names = tf.tile([["up", "down"]], [tf.size(answer), 1])
    inputs = {"inputs": examples}
    signatures |= {
        "regress": _signature(inputs, {"outputs": answer}, "regress"),
        "regress_column": _signature(inputs, {"outputs": answer[:, None]}, "regress"),
        "regress_total": _signature(inputs, {"outputs": tf.reduce_sum(answer)}, "regress"),
        "classify": _signature(inputs, {"classes": names, "scores": scores}, "classify"),
        "classify_scores": _signature(inputs, {"scores": scores}, "classify"),
        "classify_classes": _signature(inputs, {"classes": names}, "classify"),
        "classify_flat": _signature(inputs, {"scores": answer}, "classify"),
    }
    return signatures


def _signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str = "predict") -> Any:
    def infos(tensors: dict[str, Any]) -> dict[str, Any]:
        return {k: _v1.saved_model.build_tensor_info(tensor) for k, tensor in tensors.items()}

    return _v1.saved_model.build_signature_def(
        infos(inputs), infos(outputs), f"tensorflow/serving/{method}"
    )


def main() -> None:
    """The command line."""
    folder = Path(sys.argv[1]).absolute()
    base_path = write_models(folder)
    (folder / "models.config").write_text(
        f'model_config_list {{ config {{ name: "{NAME}" base_path: "{base_path}" '
        'model_platform: "tensorflow" model_version_policy { all {} } '
        'version_labels { key: "stable" value: 1 } } }\n'
    )


if __name__ == "__main__":
    main()
