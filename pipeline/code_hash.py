"""The code that runs inside a node, as a part of the node's cache key.

TFX knows the code of a node by its import path only, and the libraries by the version of TFX;
without this, a rerun after an edit or an upgrade would take the old result from the cache.
"""

import ast
import hashlib
import importlib.metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
_ROOMS = ("components", "data", "serving")

LIBRARIES = {
    "cv2": "opencv-python-headless",
    "keras": "keras",
    "keras_tuner": "keras-tuner",
    "numpy": "numpy",
    "scipy": "scipy",
    "tensorflow": "tensorflow",
    "tensorflow_model_analysis": "tensorflow-model-analysis",
    "tensorflow_transform": "tensorflow-transform",
}
"""By the name they are imported under: those whose upgrade can change results. TFX itself puts its
version into every key."""


def code_hash(*modules: str) -> str:
    """SHA-256 of some modules' source, of all our modules that they import, however indirectly,
    and of the versions of the `LIBRARIES` that these import.

    Args:
        modules: dotted names, as in `components.nodes.trainer`.
    """
    digest = hashlib.sha256()
    files, imported = closure(*modules)
    for file in sorted(files):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for library in sorted(imported & LIBRARIES.keys()):
        version = importlib.metadata.version(LIBRARIES[library])
        digest.update(f"{library} {version}\0".encode())
    return digest.hexdigest()


def closure(*modules: str) -> tuple[set[Path], set[str]]:
    """Our files that some modules and their imports consist of, and the top-level names of all that
    they import."""
    found: set[Path] = set()
    imported: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        imported.add(name.partition(".")[0])
        file = _file(name)
        if file is None or file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
    return found, imported


def _file(module: str) -> Path | None:
    """The source of a module of ours; None for anything else."""
    room, *_ = module.split(".")
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return file if room in _ROOMS and file.is_file() else None
