"""Code that runs inside a node, as a part of the node's cache key.

TFX knows a user function by its import path only; without this, a rerun after an edit would
take the old result from the cache.
"""

import ast
import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_ROOMS = ("components", "data", "serving")


def code_hash(module: str) -> str:
    """SHA-256 of a module's source and of all our modules that it imports, however indirectly.

    Args:
        module: dotted name, as in `components.trainer`.
    """
    digest = hashlib.sha256()
    for file in sorted(_closure(module)):
        digest.update(f"{file.relative_to(ROOT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _closure(module: str) -> set[Path]:
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        file = _file(waiting.pop())
        if file is None or file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
    return found


def _file(module: str) -> Path | None:
    """The source of a module of ours; None for anything else."""
    room, *_ = module.split(".")
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return file if room in _ROOMS and file.is_file() else None
