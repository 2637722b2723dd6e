"""The requests and answers of classify and regress, which are about `tf.train.Example`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.embedded.json_values import Json, is_integer, quote, to_bytes, type_name
from serving.embedded.servable import Signature, Tensor
from serving.embedded.status import Code, RequestError, invalid
from serving.embedded.tensors import (
    convert,
    decode_base64,
    is_base64,
    printed,
    write_float,
    write_string,
)

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
INPUTS = "inputs"
CLASSES, SCORES = "classes", "scores"
REGRESSION = "outputs"

_INT64 = range(-(2**63), 2**63)


def read_examples(document: Mapping[str, Json]) -> Tensor:
    """Serialized examples, bytes [N], of a request's `examples`, each with its `context`.

    Raises:
        RequestError: there are none, or a feature is not a number, a string or a list of these.
    """
    context = _to_example(document["context"]) if "context" in document else b""
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {quote(document)} When method is classify, key 'examples' is expected "
            "and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(
            f"JSON Value: {quote(document)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise invalid(f"JSON Value: {quote(document)} 'examples' value is an empty array")
    # Protobuf merges messages whose bytes are put together.
    serialized = [context + _to_example(example) for example in examples]
    tensor = np.empty(len(serialized), np.object_)
    tensor[:] = serialized
    return tensor


def check_classify(signature: Signature) -> None:
    """Makes sure that a signature can classify.

    Raises:
        RequestError: it cannot.
    """
    _check(signature, CLASSIFY, "classification")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if not {CLASSES, SCORES} & signature.outputs.keys():
        raise RequestError(
            Code.FAILED_PRECONDITION,
            "Expected classification signature outputs to contain at least one of "
            f'"{CLASSES}" or "{SCORES}". Signature was: {signature}',
        )


def check_regress(signature: Signature) -> None:
    """Makes sure that a signature can regress.

    Raises:
        RequestError: it cannot.
    """
    _check(signature, REGRESS, "regression")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if REGRESSION not in signature.outputs:
        raise RequestError(
            Code.FAILED_PRECONDITION,
            f"No regression outputs found in SignatureDef: {signature}",
        )


def _check(signature: Signature, method: str, kind: str) -> None:
    if signature.method != method:
        raise invalid(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method}"
        )
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if INPUTS not in signature.inputs:
        raise RequestError(
            Code.FAILED_PRECONDITION, f"No {kind} inputs found in SignatureDef: {signature}"
        )


def write_classifications(outputs: Mapping[str, Tensor], count: int) -> str:
    """The answer of classify: for each example the pairs of label and score.

    Args:
        outputs: `classes` bytes [count, classes], `scores` float32 of the same shape, or one.
        count: of the examples.

    Raises:
        RequestError: the model gave other shapes or types.
    """
    for name, dtype, word in ((CLASSES, np.object_, "STRING"), (SCORES, np.float32, "FLOAT")):
        if name not in outputs:
            continue
        tensor = outputs[name]
        if tensor.ndim != 2:
            raise invalid(
                f"Expected Tensor shape: [batch_size num_classes] but got {printed(tensor.shape)}"
            )
        if tensor.dtype != dtype:
            raise invalid(f"Expected {name} Tensor of DT_{word}. Got: {tensor.dtype.name}")
        if len(tensor) != count:
            raise invalid(f"Expected {name} output batch size of {count}. Got: {len(tensor)}")
    classes, scores = outputs.get(CLASSES), outputs.get(SCORES)
    if classes is None:
        assert scores is not None  # check_classify has seen to it
        classes = np.full(scores.shape, b"", np.object_)
    if scores is None:
        scores = np.zeros(classes.shape, np.float32)
    if classes.shape != scores.shape:
        raise invalid(
            "Tensors class and score should match in dim_size(1). Got "
            f"{classes.shape[1]} vs. {scores.shape[1]}"
        )
    rows = (
        ", ".join(
            f"[{write_string(label)}, {write_float(score)}]"
            for label, score in zip(labels, row, strict=True)
        )
        for labels, row in zip(classes.tolist(), scores.tolist(), strict=True)
    )
    return '{"results": [' + ", ".join(f"[{row}]" for row in rows) + "]}"


def write_regressions(outputs: Mapping[str, Tensor], count: int) -> str:
    """The answer of regress: a number for each example.

    Args:
        outputs: `outputs` float32 [count] or [count, 1].
        count: of the examples.

    Raises:
        RequestError: the model gave another shape or type.
    """
    tensor = outputs[REGRESSION]
    if tensor.ndim not in (1, 2) or tensor.shape[1:] not in ((), (1,)):
        raise invalid(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{printed(tensor.shape)}"
        )
    if len(tensor) != count:
        raise invalid(
            f"Input batch size did not match output batch size: {count} vs. {len(tensor)}"
        )
    if tensor.dtype != np.float32:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {tensor.dtype.name}")
    return '{"results": [' + ", ".join(map(write_float, tensor.ravel().tolist())) + "]}"


def _to_example(value: Json) -> bytes:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = tf.train.Example()
    for name, content in value.items():
        key = to_bytes(name).decode("utf-8", "replace")
        feature = example.features.feature[key]
        for item in content if isinstance(content, list) else [content]:
            _add(feature, name, item)
    serialized: bytes = example.SerializeToString()
    return serialized


def _add(feature: Any, name: str, value: Json) -> None:
    """Adds a value to a `tf.train.Feature`, which holds one kind of values."""
    item: int | float | bytes
    if isinstance(value, bool):
        kind, item = "int64_list", int(value)
    elif is_integer(value):
        if value not in _INT64:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        kind, item = "int64_list", value
    elif isinstance(value, float):
        kind, item = "float_list", convert(value, "float")
    elif isinstance(value, str):
        kind, item = "bytes_list", to_bytes(value)
    elif is_base64(value):
        kind, item = "bytes_list", decode_base64(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    present = feature.WhichOneof("kind")
    if present not in (None, kind):
        found = present.removesuffix("_list")
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {found}")
    getattr(feature, kind).value.append(item)
