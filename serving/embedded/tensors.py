"""Tensors from the JSON of a request, and the JSON of an answer from tensors.

Both follow TF Serving's `util/json_tensor.cc`: what is accepted, the order of the checks, the words
of the errors and the digits of the numbers. Types go by TensorFlow's names ("float" is float32).
"""

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.embedded.json_values import Json, is_integer, is_number, quote, to_bytes, type_name
from serving.embedded.servable import Tensor
from serving.embedded.status import Code, RequestError, invalid

NUMPY: dict[str, type] = {
    "float": np.float32,
    "double": np.float64,
    "half": np.float16,
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "int32": np.int32,
    "uint32": np.uint32,
    "int64": np.int64,
    "uint64": np.uint64,
    "bool": np.bool_,
    "string": np.object_,
}
"""The types that JSON can carry, and what NumPy calls them; half is for answers only."""

_INT32 = range(-(2**31), 2**31)
_INTEGERS = {
    "int8": _INT32,
    "uint8": _INT32,
    "int16": _INT32,
    "int32": _INT32,
    "uint32": range(2**32),
    "int64": range(-(2**63), 2**63),
    "uint64": range(2**64),
}
_DECIMALS = {"float": (2**24 - 1, float(np.finfo(np.float32).max)), "double": (2**53 - 1, math.inf)}
"""The greatest integer and the greatest number that fit."""

_MAX_RANK = 64
"""NumPy's."""

_B64 = "b64"
_BYTES_SUFFIX = "_bytes"


def read_instances(instances: list[Json], inputs: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of a request in row format.

    Args:
        instances: one or more values of the only input, or objects with a value of each input.
        inputs: the type of each.

    Returns:
        For each input the instances as one array [N, ...].

    Raises:
        RequestError: a value does not fit its type, or the instances do not fit each other.
    """
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    named = _is_named(instances[0])
    batches = {name: _Batch(dtype) for name, dtype in inputs.items()}
    for index, instance in enumerate(instances):
        if named != _is_named(instance):
            found = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {found} at item {index} of input list")
        if not named:
            instance = {next(iter(inputs)): instance}
        for name, value in instance.items():
            try:
                if name not in batches:
                    raise invalid(f"JSON object: does not have named input: {name}")
                batches[name].add(value)
            except RequestError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"Failed to process element: {index}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from None
        if instance.keys() != inputs.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. "
                f"JSON object: {quote(instance)} keys must be equal to: "
                f"{','.join(sorted(inputs))}"
            )
    return {name: batch.stacked() for name, batch in batches.items()}


def read_inputs(value: Json, inputs: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of a request in columnar format.

    Args:
        value: that of the only input, or an object with the value of each input.
        inputs: the type of each.

    Raises:
        RequestError: an input is missing, or a value does not fit its type.
    """
    if _is_named(value):
        for name in inputs:
            if name not in value:
                raise invalid(f"Missing named input: {name} in 'inputs' object.")
        return {name: read_tensor(value[name], dtype) for name, dtype in inputs.items()}
    if len(inputs) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors "
            "required as per tensorinfo_map"
        )
    return {name: read_tensor(value, dtype) for name, dtype in inputs.items()}


def read_tensor(value: Json, dtype: str) -> Tensor:
    """One tensor: a scalar, or lists of lists of equal lengths.

    Raises:
        RequestError: a value does not fit the type, or the lists are ragged.
    """
    shape = _shape(value)
    flat: list[Any] = []
    _flatten(value, shape, dtype, flat)
    return _array(flat, dtype, shape)


class _Batch:
    """The instances of one input."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._flat: list[Any] = []
        self._shape: list[int] | None = None
        self._count = 0

    def add(self, value: Json) -> None:
        shape, before = _shape(value), len(self._flat)
        _flatten(value, shape, self._dtype, self._flat)
        self._count += 1
        if self._shape is None:
            self._shape = shape
            return
        expected, size = math.prod(self._shape), len(self._flat) - before
        if size != expected:
            raise invalid(f"Expecting tensor size: {expected} but got: {size}")
        if shape != self._shape:
            raise invalid(f"Expecting shape {printed(self._shape)} but got: {printed(shape)}")

    def stacked(self) -> Tensor:
        return _array(self._flat, self._dtype, [self._count, *(self._shape or [])])


def _is_named(value: Json) -> bool:
    """Whether a value is an object that names inputs."""
    return isinstance(value, dict) and not is_base64(value)


def is_base64(value: Json) -> bool:
    """Whether a value is an object `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_B64), str)


def _shape(value: Json) -> list[int]:
    """The lengths of the lists along the first values; the others must be as long."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def printed(shape: Sequence[int]) -> str:
    """A shape as errors show it."""
    return f"[{','.join(map(str, shape))}]"


def _flatten(value: Json, shape: list[int], dtype: str, flat: list[Any], level: int = 0) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {quote(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        flat.append(convert(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    for item in value:
        _flatten(item, shape, dtype, flat, level + 1)


def _array(flat: list[Any], dtype: str, shape: list[int]) -> Tensor:
    if len(shape) > _MAX_RANK:
        raise invalid(f"A tensor of {len(shape)} dimensions: at most {_MAX_RANK} are supported")
    if dtype in _INTEGERS:  # a number too great for 8 or 16 bits loses its upper ones, as in C++
        wide = np.uint64 if dtype == "uint64" else np.int64
        return np.array(flat, wide).astype(NUMPY[dtype]).reshape(shape)
    array: Tensor = np.empty(len(flat), NUMPY.get(dtype, np.object_))
    array[:] = flat
    return array.reshape(shape)


def convert(value: Json, dtype: str) -> Any:
    """A value as its tensor holds it.

    Raises:
        RequestError: it does not fit the type.
    """
    if dtype == "string":
        return _string(value)
    if dtype in _DECIMALS:
        if not is_number(value):
            raise _wrong_type(value, dtype)
        greatest_integer, greatest = _DECIMALS[dtype]
        limit = greatest_integer if is_integer(value) else greatest
        if math.isfinite(value) and abs(value) > limit:
            raise invalid(
                f"Cannot convert JSON value: {quote(value)} to {dtype} without loss of precision."
            )
        return value
    if dtype in _INTEGERS:
        if not is_integer(value) or value not in _INTEGERS[dtype]:
            raise _wrong_type(value, dtype)
        return value
    if dtype == "bool":
        if not isinstance(value, bool):
            raise _wrong_type(value, dtype)
        return value
    raise RequestError(
        Code.UNIMPLEMENTED, f"Conversion of JSON Value: {quote(value)} to type: {dtype}"
    )


def _string(value: Json) -> bytes:
    if isinstance(value, str):
        return to_bytes(value)
    if not isinstance(value, dict):
        raise _wrong_type(value, "string")
    return decode_base64(value)


def decode_base64(value: Json) -> bytes:
    """The bytes of an object `{"b64": "..."}`; padding may be missing, and blanks are ignored.

    Raises:
        RequestError: it has other keys, or what it holds is not base64.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {quote(value)} not formatted correctly for base64 data")
    text = value[_B64]
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        text = "".join(text.split()).rstrip("=")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def _wrong_type(value: Json, dtype: str) -> RequestError:
    return invalid(
        f"JSON Value: {quote(value)} Type: {type_name(value)} is not of expected type: {dtype}"
    )


def write_predictions(outputs: Mapping[str, Tensor]) -> str:
    """An answer in row format: `{"predictions": [...]}`, an entry for each instance.

    Args:
        outputs: arrays [N, ...]; strings of a name that ends in `_bytes` become base64.

    Raises:
        RequestError: they do not share a batch dimension, or JSON cannot carry their type.
    """
    size = None
    for name, tensor in outputs.items():
        if tensor.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if size is not None and size != len(tensor):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(tensor)} expecting: {size}"
            )
        size = len(tensor)
    columns = {name: _texts(name, tensor) for name, tensor in outputs.items()}
    if len(columns) == 1:
        rows = next(iter(columns.values()))
    else:
        keys = [json.dumps(name) for name in columns]
        rows = [
            "{" + ", ".join(map("{}: {}".format, keys, row)) + "}"
            for row in zip(*columns.values(), strict=True)
        ]
    return '{"predictions": [' + ", ".join(rows) + "]}"


def write_outputs(outputs: Mapping[str, Tensor]) -> str:
    """An answer in columnar format: `{"outputs": ...}`, by name where there are several.

    Raises:
        RequestError: JSON cannot carry their type.
    """
    texts = {
        name: _text(tensor.tolist(), _writer(name, tensor)) for name, tensor in outputs.items()
    }
    if len(texts) == 1:
        return '{"outputs": ' + next(iter(texts.values())) + "}"
    members = (f"{json.dumps(name)}: {text}" for name, text in texts.items())
    return '{"outputs": {' + ", ".join(members) + "}}"


def write_float(value: float) -> str:
    """A float32 as TF Serving writes it: six digits, or nine where six would be another number."""
    return _decimal(value, np.float32, 9)


def write_string(value: bytes) -> str:
    """A string of JSON; bytes that are not UTF-8 stay as they are."""
    return json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False)


def _texts(name: str, tensor: Tensor) -> list[str]:
    """JSON of each row."""
    write = _writer(name, tensor)
    return [_text(row, write) for row in tensor.tolist()]


def _text(values: Any, write: Callable[[Any], str]) -> str:
    if isinstance(values, list):
        return "[" + ", ".join([_text(value, write) for value in values]) + "]"
    return write(values)


def _writer(name: str, tensor: Tensor) -> Callable[[Any], str]:
    """What turns a value of a tensor into JSON."""
    dtype = tensor.dtype
    if dtype == np.object_:
        return _write_base64 if name.endswith(_BYTES_SUFFIX) else write_string
    if dtype in (np.float16, np.float32):
        return write_float
    if dtype == np.float64:
        return lambda value: _decimal(value, np.float64, 17)
    if dtype == np.bool_:
        return lambda value: "true" if value else "false"
    if dtype.kind in "iu":
        return str
    raise invalid(f"Failed to write JSON value for tensor type: {dtype.name}")


def _write_base64(value: bytes) -> str:
    return json.dumps({_B64: base64.b64encode(value).decode()})


def _decimal(value: float, dtype: type, digits: int) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = f"{value:.6g}"
    if dtype(text) != value:
        text = f"{value:.{digits}g}"
    return text if "." in text or "e" in text else f"{text}.0"
