import hashlib
import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.errors import ComponentError
from components.model.torch_checkpoint import read_state_dict

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
HEADER = [MAGIC, PROTOCOL, {"little_endian": True, "protocol_version": PROTOCOL}]


class Storage:
    def __init__(self, key: str, elements: np.ndarray) -> None:
        self.key, self.elements = key, elements


class Tensor:
    """What PyTorch pickles: a call that rebuilds a view of a storage."""

    def __init__(
        self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        no_hooks: dict[str, object] = OrderedDict()
        self.arguments = (storage, offset, shape, strides, False, no_hooks)

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Attack:
    """Runs a shell command when it is unpickled carelessly."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


@pytest.fixture(autouse=True)
def torch_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names for the pickler to refer to; the reader must not need them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild() -> None: ...

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> Any:
        if not isinstance(value, Storage):
            return None
        name = {"f": "FloatStorage", "i": "LongStorage"}[value.elements.dtype.kind]
        kind = getattr(sys.modules["torch"], name)
        return ("storage", kind, value.key, "cpu", len(value.elements), None)


def pickled(value: object) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def checkpoint(state: object, *storages: Storage) -> bytes:
    parts = [pickled(value) for value in [*HEADER, state, [s.key for s in storages]]]
    for storage in storages:
        parts += [len(storage.elements).to_bytes(8, "little"), storage.elements.tobytes()]
    return b"".join(parts)


Read = Callable[[bytes], dict[str, np.ndarray]]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    def read_bytes(content: bytes) -> dict[str, np.ndarray]:
        monkeypatch.delitem(sys.modules, "torch")
        monkeypatch.delitem(sys.modules, "torch._utils")
        file = tmp_path / "model.pth"
        file.write_bytes(content)
        return read_state_dict(file, hashlib.sha256(content).hexdigest())

    return read_bytes


def test_arrays_come_back_with_names_shapes_dtypes_and_values(read: Read) -> None:
    floats = Storage("1", np.arange(12, dtype=np.float32))
    longs = Storage("2", np.array([7], np.int64))
    state = OrderedDict(
        kernel=Tensor(floats, 0, (3, 4), (4, 1)),
        transposed=Tensor(floats, 0, (4, 3), (1, 4)),
        part=Tensor(floats, 8, (2,), (2,)),
        steps=Tensor(longs, 0, (), ()),
    )
    arrays = read(checkpoint(state, longs, floats))
    matrix = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected: dict[str, np.ndarray] = {
        "kernel": matrix,
        "transposed": matrix.T,
        "part": np.array([8, 10], np.float32),
        "steps": np.array(7, np.int64),
    }
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_a_file_with_another_hash_is_not_interpreted(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    file = tmp_path / "model.pth"
    file.write_bytes(pickled(Attack(f"touch {marker}")))
    with pytest.raises(ComponentError, match=r"model\.pth: its sha256 is \w{64}, expected 0000"):
        read_state_dict(file, "0" * 64)
    assert not marker.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"model\.pth: No such file"):
        read_state_dict(tmp_path / "model.pth", "0" * 64)


@pytest.mark.parametrize("position", range(5))
def test_a_pickle_that_would_run_a_command_runs_nothing(
    read: Read, tmp_path: Path, position: int
) -> None:
    marker = tmp_path / "executed"
    parts: list[object] = [*HEADER, OrderedDict(), []]
    parts[position] = {"kernel": Attack(f"touch {marker}")}
    with pytest.raises(ComponentError, match=r"model\.pth: .*asks for posix\.system"):
        read(b"".join(pickled(part) for part in parts))
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins getattr",
        "collections namedtuple",
        "collections OrderedDict.fromkeys",
        "torch load",
        "torch._utils _rebuild_tensor",
        "torch.storage FloatStorage",
        "components.model.torch_checkpoint _Storage",
        "numpy ndarray",
    ],
)
def test_no_other_name_can_be_referred_to(read: Read, name: str) -> None:
    reference = b"\x80\x04c" + name.replace(" ", "\n").encode() + b"\n."
    header = b"".join(pickled(value) for value in HEADER)
    with pytest.raises(ComponentError, match=f"asks for {name.replace(' ', '.')}"):
        read(header + reference)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (13,), (1,)), (9, (4,), (1,)), (0, (3, 4), (5, 1)), (-1, (2,), (1,)), (5, (5,), (-1,)),
     (0, (1000, 1000), (0, 0)), (0, (3, 4), (1,))],
)  # fmt: skip
def test_a_tensor_stays_within_its_storage(
    read: Read, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    storage = Storage("1", np.zeros(12, np.float32))
    state = OrderedDict(kernel=Tensor(storage, offset, shape, strides))
    with pytest.raises(ComponentError, match=r"model\.pth: not a plain state dict"):
        read(checkpoint(state, storage))


def test_a_truncated_file_is_refused(read: Read) -> None:
    storage = Storage("1", np.zeros(12, np.float32))
    content = checkpoint(OrderedDict(kernel=Tensor(storage, 0, (12,), (1,))), storage)
    with pytest.raises(ComponentError, match=r"model\.pth: not a plain state dict"):
        read(content[:-4])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", pickle.dumps({"kernel": 1})])
def test_another_format_is_refused(read: Read, content: bytes) -> None:
    with pytest.raises(ComponentError, match=r"model\.pth: not a plain state dict"):
        read(content)
