"""Reads the arrays of a PyTorch state dict without PyTorch, and without running any code.

Only the legacy stream is read, from before PyTorch 1.6 switched to zip files: four pickles
(magic number, protocol, byte order of the writer, the state dict with references to storages),
a pickled list of storage keys, then each storage as its length and raw elements. Source:
`_legacy_load` in https://github.com/pytorch/pytorch/blob/main/torch/serialization.py.
"""

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from components.errors import ComponentError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "ByteStorage": "<u1",
    "CharStorage": "<i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "BoolStorage": "?",
}
"""Element types by the name of the storage's class, as PyTorch writes them: little-endian."""


class _Storage(NamedTuple):
    key: str
    dtype: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _StateUnpickler(pickle.Unpickler):
    """Builds numbers, strings, containers and `_Tensor`, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]  # a string: it names the type and cannot be called
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, reference: Any) -> _Storage:
        kind, dtype, key, _location, length, view = reference
        if kind != "storage" or dtype not in _DTYPES.values() or view is not None:
            raise pickle.UnpicklingError(f"it refers to a {kind!r} of {dtype!r}")
        return _Storage(key, dtype, length)


def read_state_dict(file: Path, sha256: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a legacy PyTorch checkpoint.

    Args:
        file: the checkpoint, a few hundred megabytes at most, as it is read whole.
        sha256: hexadecimal; the file is not interpreted before its bytes have this hash.

    Returns:
        Arrays by their names, in the file's order, in the file's shapes and element types.

    Raises:
        ComponentError: another hash, or anything in it but a state dict of arrays.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ComponentError(f"checkpoint {file}: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ComponentError(f"checkpoint {file}: its sha256 is {found}, expected {sha256}")
    try:
        return _read_arrays(io.BytesIO(content))
    except Exception as error:  # pickle's documentation says that it may raise anything
        raise ComponentError(f"checkpoint {file}: not a plain state dict, {error}") from error


def _read_arrays(stream: io.BytesIO) -> dict[str, np.ndarray]:
    if _load(stream) != _MAGIC or _load(stream) != _PROTOCOL:
        raise ValueError("it is not a legacy PyTorch stream")
    if _load(stream)["little_endian"] is not True:
        raise ValueError("it is big-endian")
    tensors: dict[str, _Tensor] = _load(stream)
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    elements = {key: _read_storage(stream, storages[key]) for key in _load(stream)}
    return {name: _view(elements[t.storage.key], t).copy() for name, t in tensors.items()}


def _load(stream: io.BytesIO) -> Any:
    return _StateUnpickler(stream).load()


def _read_storage(stream: io.BytesIO, storage: _Storage) -> np.ndarray:
    length = int.from_bytes(stream.read(8), "little")
    if length != storage.length:
        raise ValueError(f"storage {storage.key} has {length} elements, not {storage.length}")
    dtype = np.dtype(storage.dtype)
    return np.frombuffer(stream.read(length * dtype.itemsize), dtype, length)


def _view(elements: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """Checked here, because `as_strided` itself would read any memory."""
    _, offset, shape, strides = tensor
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError(f"shape {shape}, strides {strides}, offset {offset}")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if max(last + 1, math.prod(shape)) > len(elements):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage")
    steps = [stride * elements.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(elements[offset:], shape, steps, writeable=False)
