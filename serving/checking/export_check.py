"""Whether TF Serving could serve a SavedModel, found out without TF Serving."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from data.contract.servable import DEFAULT_SIGNATURE, SAVED_MODEL, Cost
from serving.checking import c_loader
from serving.checking.cost import measure_cost
from serving.embedded.saved_model import SavedModel, type_name, warm_up
from serving.embedded.status import RequestError
from serving.embedded.tensors import NUMPY

FOREIGN_OPS = {
    "PyFunc": "calls Python",
    "PyFuncStateless": "calls Python",
    "EagerPyFunc": "calls Python",
    "XlaCallModule": "needs XLA, and was compiled for one kind of machine",
}
"""Operations that TF Serving can load but not run; unknown ones it does not even load."""


@dataclass(frozen=True)
class Check:
    """One thing that was checked; `problems` is empty if all is well."""

    name: str
    problems: tuple[str, ...]
    cost: Cost | None = None
    """What serving the model costs: with the last check, if that has found no problem."""


def check_export(version: Path, timeout_ms: int = 60_000) -> Iterator[Check]:
    """Looks at a version of a model as TF Serving would, one check after the other.

    Args:
        version: a folder with `saved_model.pb`.
        timeout_ms: for each warm-up request.
    """
    try:
        meta_graph = _meta_graph(version)
    except ValueError as error:
        yield Check("a SavedModel with the tag serve", (str(error),))
        return
    yield Check("a SavedModel with the tag serve", ())
    yield Check("signatures that the REST API can serve", tuple(_signature_problems(meta_graph)))
    nodes = list(_nodes(meta_graph))
    yield Check("operations that TF Serving has", tuple(_operation_problems(nodes)))
    yield Check("no device but the CPU by name", tuple(_device_problems(nodes)))
    yield Check("no path outside the model", tuple(_path_problems(nodes, meta_graph)))
    with tempfile.TemporaryDirectory() as folder:
        # Not where it was made: whatever it did not bring along is missing here.
        moved = Path(folder) / "moved" / "1"
        shutil.copytree(version, moved)
        yield from _run_checks(moved, timeout_ms)


def _meta_graph(version: Path) -> meta_graph_pb2.MetaGraphDef:
    file = version / SAVED_MODEL
    try:
        model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    for meta_graph in model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {"serve"}:
            return meta_graph
    found = [sorted(meta_graph.meta_info_def.tags) for meta_graph in model.meta_graphs]
    raise ValueError(f"{file} has no graph with the tag serve alone; found: {found or 'none'}")


def _nodes(meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[Any]:
    """The nodes of the graph and of its functions."""
    yield from meta_graph.graph_def.node
    for function in meta_graph.graph_def.library.function:
        yield from function.node_def


def _signature_problems(meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    signature = meta_graph.signature_def.get(DEFAULT_SIGNATURE)
    if signature is None:
        found = ", ".join(sorted(meta_graph.signature_def)) or "none"
        yield f"no signature {DEFAULT_SIGNATURE}; found: {found}"
        return
    for kind, infos in (("input", signature.inputs), ("output", signature.outputs)):
        if not infos:
            yield f"{DEFAULT_SIGNATURE} has no {kind}"
        for name, info in infos.items():
            dtype = type_name(info.dtype)
            if not info.name:
                yield f"{kind} {name} is not a dense tensor"
            elif dtype not in NUMPY:
                yield f"{kind} {name} has the type {dtype}, which JSON cannot carry"


def _operation_problems(nodes: list[Any]) -> Iterator[str]:
    for operation in sorted({node.op for node in nodes} & FOREIGN_OPS.keys()):
        yield f"{operation} {FOREIGN_OPS[operation]}"


def _device_problems(nodes: list[Any]) -> Iterator[str]:
    for device in sorted({node.device for node in nodes}):
        if device and ":CPU:" not in device.upper():  # a CPU is everywhere
            yield f"a node is bound to {device}"


def _path_problems(nodes: list[Any], meta_graph: meta_graph_pb2.MetaGraphDef) -> Iterator[str]:
    """Constants that name a file or folder of this machine.

    Those of assets do so as well, but are replaced when the model is loaded.
    """
    assets = {asset.tensor_info.name.partition(":")[0] for asset in meta_graph.asset_file_def}
    for node in nodes:
        if node.op != "Const" or node.name in assets:
            continue
        for value in node.attr["value"].tensor.string_val:
            text = value.decode("utf-8", "replace")
            if text.startswith("/") and "\0" not in text and _exists(Path(text)):
                yield f"the constant {node.name} is {text}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a path
        return False


def _run_checks(version: Path, timeout_ms: int) -> Iterator[Check]:
    """Loads a model in another process and, at the same time, in this one, where it is asked."""
    problems: tuple[str, ...] = ()
    cost = None
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(_load_problems, version)
        try:
            with closing(SavedModel(version, timeout_ms)) as model:
                if warm_up(model, version) == 0:
                    problems = ("there are none: the first user would wait",)
                else:
                    wait([loading])  # or it would be timed too
                    cost = measure_cost(model, version)
        except RequestError as error:
            problems = (error.message,)
        yield Check("loads in C++, without Python, elsewhere", loading.result())
    yield Check("answers its warm-up requests", problems, cost)


def _load_problems(version: Path) -> tuple[str, ...]:
    command = [sys.executable, "-m", c_loader.__name__, str(version)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    if not done.returncode:
        return ()
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return (said[-1] if said else f"the process ended with status {done.returncode}",)


_ROOT = Path(__file__).parents[2]
