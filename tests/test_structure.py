"""The house: which rooms there are and which may import what, read from the source alone."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import NEED_KFP

ROOT = Path(__file__).parents[1]
ROOMS = ("data", "components", "pipeline", "serving", "benchmarks")
FOLDERS = {*ROOMS, "tests", "requirements"}
CONTRACT = "data.contract"
"""What several rooms agree on: all that other rooms may know of data/."""
PARTS_OF_SERVING: dict[str, set[str]] = {
    "quiet_tensorflow": set(),
    "embedded": {CONTRACT},
    "asking": {CONTRACT, "serving.quiet_tensorflow"},
    "observing": {CONTRACT, "serving.asking", "serving.embedded"},
    "checking": {CONTRACT, "serving.embedded"},
}
PARTS_OF_COMPONENTS: dict[str, set[str]] = {
    "errors": {CONTRACT},
    "settings": set(),
    "data_gate": {CONTRACT, "components.settings"},
    "reliability": set(),
    "saved_model": {CONTRACT},
    "staging": set(),
    "model": {
        CONTRACT,
        "components.errors",
        "components.reliability",
        "components.settings",
        "components.staging",
    },
    "training": {
        CONTRACT,
        "components.errors",
        "components.model",
        "components.settings",
        "components.staging",
    },
    "evaluation": {
        CONTRACT,
        "components.errors",
        "components.reliability",
        "components.settings",
        "components.staging",
    },
    "pages": set(),
    "report": {
        CONTRACT,
        "components.evaluation",
        "components.model",
        "components.pages",
        "components.reliability",
        "components.staging",
        "components.training",
    },
    "nodes": {
        CONTRACT,
        "components.data_gate",
        "components.errors",
        "components.evaluation",
        "components.model",
        "components.reliability",
        "components.report",
        "components.saved_model",
        "components.staging",
        "components.training",
        "serving.checking",
    },
}
PARTS = {"components": PARTS_OF_COMPONENTS, "serving": PARTS_OF_SERVING}
"""What each part of a room may know of other parts and rooms."""


class Import(NamedTuple):
    """One import of a module."""

    place: str
    module: str
    function: str
    """The function that imports it when called, or TYPE_CHECKING; empty at the top of the file."""

    @property
    def room(self) -> str:
        """The room, or the foreign package, that the module is of."""
        return self.module.split(".")[0]


def test_the_top_level_holds_the_rooms() -> None:
    assert {path.name for path in ROOT.iterdir() if path.is_dir()} >= FOLDERS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_and_its_parts_are_packages_that_say_what_they_are_and_no_more(room: str) -> None:
    """Code in them would be in no hash of `pipeline/code_hash.py`."""
    folders = {ROOT / room, *(file.parent for file in _sources(room))}
    for folder in folders:
        tree = _parse(folder / "__init__.py")
        assert ast.get_docstring(tree)
        assert len(tree.body) == 1


def test_data_imports_nothing_of_ours() -> None:
    assert not [each for each in _imports_of_ours("data") if each.room != "data"]


@pytest.mark.parametrize("room", PARTS)
def test_the_parts_of_a_room_are_listed(room: str) -> None:
    found = {file.relative_to(ROOT / room).parts[0].removesuffix(".py") for file in _sources(room)}
    assert found - {"__init__"} == PARTS[room].keys()


@pytest.mark.parametrize(
    ("room", "part", "known"),
    [(room, part, known) for room, parts in PARTS.items() for part, known in parts.items()],
)
def test_a_part_knows_only_so_much_of_others(room: str, part: str, known: set[str]) -> None:
    imported = {".".join(each.module.split(".")[:2]) for each in _imports_of_ours(f"{room}/{part}")}
    assert imported - {f"{room}.{part}"} == known


def test_no_arrow_points_upward() -> None:
    arrows = {
        f"{room}.{part}": {below for below in known if below != CONTRACT}
        for room, parts in PARTS.items()
        for part, known in parts.items()
    }
    assert [*TopologicalSorter(arrows).static_order()]


def test_tfx_is_imported_by_the_nodes_alone() -> None:
    found = {
        each.place.split(":")[0]
        for part in PARTS["components"]
        for each in _imports(f"components/{part}")
        if each.room == "tfx"
    }
    assert found
    assert all(file.startswith("components/nodes/") for file in found)


def test_the_embedded_server_knows_nothing_of_dogs() -> None:
    sources = _sources("serving/embedded")
    assert sources
    assert not [file for file in sources if "dog" in file.read_text().lower()]


@pytest.mark.parametrize("part", ["data/contract", "serving/embedded/options"])
def test_what_others_start_with_needs_the_standard_library_alone(part: str) -> None:
    at_once = [each for each in _imports(part) if each.function == ""]
    assert at_once
    assert not [
        each
        for each in at_once
        if each.room not in sys.stdlib_module_names and not each.module.startswith(CONTRACT)
    ]


def test_only_the_commands_of_the_command_line_import_serving() -> None:
    found = [each for each in _imports_of_ours("pipeline") if each.room == "serving"]
    assert found
    assert all(each.place.startswith("pipeline/commands/") for each in found)
    assert not [each for each in found if not each.function]


@pytest.mark.parametrize("room", ["data", "components", "pipeline", "serving"])
def test_the_product_does_without_the_benchmarks(room: str) -> None:
    assert not [each for each in _imports_of_ours(room) if each.room == "benchmarks"]


def test_the_command_line_starts_with_the_standard_library_alone() -> None:
    at_once = [
        each
        for each in _imports("pipeline")
        if each.place.startswith(("pipeline/cli.py:", "pipeline/commands/")) and each.function == ""
    ]
    assert at_once
    ours = ("pipeline.commands.", CONTRACT)
    assert not [
        each
        for each in at_once
        if each.room not in sys.stdlib_module_names and not each.module.startswith(ours)
    ]


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_keras_comes_as_itself_and_tfx_without_its_slow_front(room: str) -> None:
    """`tf.keras` is Keras 2 once TFMA is imported; `tfx.v1` doubles the time TFX takes."""
    wrong = ("tfx.v1", "tensorflow.keras")
    assert not [each for each in _imports(room) if each.module.startswith(wrong)]
    assert not [
        f"{file}:{node.lineno}"
        for file in _sources(room)
        for node in ast.walk(_parse(file))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("tf.keras", "tensorflow.keras")
    ]


def test_what_is_left_out_without_kfp_is_there() -> None:
    assert all((ROOT / "tests" / name).exists() for name in NEED_KFP)


def _imports_of_ours(part: str) -> list[Import]:
    return [each for each in _imports(part) if each.room in ROOMS]


def _imports(part: str) -> Iterator[Import]:
    for file in _sources(part):
        for statement, function in _import_statements(_parse(file), ""):
            place = f"{file.relative_to(ROOT).as_posix()}:{statement.lineno}"
            for module in _modules(statement):
                yield Import(place, module, function)


def _import_statements(
    tree: ast.AST, function: str
) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import in a tree, with the function it is in, or TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, function
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _import_statements(node, "TYPE_CHECKING")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _import_statements(node, node.name)
        else:
            yield from _import_statements(node, function)


def _modules(statement: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules a statement names; `from data import features` names data.contract.features."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    assert statement.module, "imports are absolute"
    below = [f"{statement.module}.{alias.name}" for alias in statement.names]
    if statement.module.split(".")[0] in ROOMS:
        return [name if _is_module(name) else statement.module for name in below]
    return below


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def _sources(part: str) -> list[Path]:
    """The files of a folder, or the one file of a module, such as `serving/quiet_tensorflow`."""
    path = ROOT / part
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes(), str(file))
