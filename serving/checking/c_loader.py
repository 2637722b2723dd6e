"""Loads a SavedModel by TensorFlow's C library alone, as TF Serving does, and says how it went.

    python -m serving.checking.c_loader FOLDER

None of TensorFlow's Python is imported: an operation that only Python registers is missing here,
as it is in TF Serving. The exit status is 0 if the model was loaded; otherwise it is 1, and the
reason is on standard output.
"""

import ctypes
import sys
from importlib.util import find_spec
from pathlib import Path

TAG = b"serve"
_OK = 0


def load(folder: Path) -> str | None:
    """Loads a model and frees it again; the reason why that cannot be done, or None."""
    library = _library()
    status = library.TF_NewStatus()
    options = library.TF_NewSessionOptions()
    graph = library.TF_NewGraph()
    tags = (ctypes.c_char_p * 1)(TAG)
    session = library.TF_LoadSessionFromSavedModel(
        options, None, bytes(folder), tags, len(tags), graph, None, status
    )
    if library.TF_GetCode(status) != _OK:
        message: bytes = library.TF_Message(status)
        return message.decode("utf-8", "replace")
    library.TF_CloseSession(session, status)
    library.TF_DeleteSession(session, status)
    library.TF_DeleteGraph(graph)
    return None


def _library() -> ctypes.CDLL:
    spec = find_spec("tensorflow")  # finds the package without running any of it
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("tensorflow is not installed")
    folder = Path(spec.origin).parent
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    pointer = ctypes.c_void_p
    for name in ("TF_NewStatus", "TF_NewSessionOptions", "TF_NewGraph"):
        getattr(library, name).restype = pointer
    library.TF_LoadSessionFromSavedModel.restype = pointer
    library.TF_LoadSessionFromSavedModel.argtypes = [
        pointer,
        pointer,
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.c_int,
        pointer,
        pointer,
        pointer,
    ]
    library.TF_GetCode.argtypes = [pointer]
    library.TF_Message.argtypes = [pointer]
    library.TF_Message.restype = ctypes.c_char_p
    for name in ("TF_CloseSession", "TF_DeleteSession"):
        getattr(library, name).argtypes = [pointer, pointer]
    library.TF_DeleteGraph.argtypes = [pointer]
    return library


def main() -> int:
    """The command line."""
    reason = load(Path(sys.argv[1]))
    if reason is not None:
        print(reason)
    return int(reason is not None)


if __name__ == "__main__":
    sys.exit(main())
