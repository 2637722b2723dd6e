import importlib.metadata
import shutil
from pathlib import Path

import pytest

from pipeline import code_hash as module
from pipeline.code_hash import code_hash

ROOMS = ("components", "data", "pipeline", "serving")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of our source to edit, that the hashes are taken of."""
    for room in ROOMS:
        shutil.copytree(module.ROOT / room, tmp_path / room)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def small_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """components.a imports data.b, which imports components.c; data.d stands alone."""
    (tmp_path / "components").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "components" / "a.py").write_text("import os\nfrom data import b, missing\n")
    (tmp_path / "data" / "b.py").write_text("def f():\n    import components.c\n")
    (tmp_path / "components" / "c.py").write_text("from components.a import thing\n")
    (tmp_path / "data" / "d.py").write_text("")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return tmp_path


def append(file: Path) -> None:
    with file.open("a") as source:
        source.write("# edited\n")


@pytest.mark.parametrize("file", ["components/a.py", "data/b.py", "components/c.py"])
def test_an_edit_of_what_is_imported_however_indirectly_changes_the_hash(
    small_tree: Path, file: str
) -> None:
    before = code_hash("components.a")
    append(small_tree / file)
    assert code_hash("components.a") != before


def test_an_edit_of_anything_else_does_not(small_tree: Path) -> None:
    before = code_hash("components.a")
    append(small_tree / "data" / "d.py")
    (small_tree / "components" / "new.py").write_text("import components.a\n")
    assert code_hash("components.a") == before


def test_a_module_that_was_missing_changes_the_hash_when_it_comes(small_tree: Path) -> None:
    before = code_hash("components.a")
    (small_tree / "data" / "missing.py").write_text("")
    assert code_hash("components.a") != before


def test_moving_code_from_one_module_to_another_changes_the_hash(small_tree: Path) -> None:
    before = code_hash("components.a")
    b, c = small_tree / "data" / "b.py", small_tree / "components" / "c.py"
    first, second = b.read_text(), c.read_text()
    b.write_text(f"import components.c\n{second}")
    c.write_text(first)
    assert code_hash("components.a") != before


def test_the_hash_does_not_depend_on_where_the_source_lies(
    small_tree: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_hash("components.a")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(small_tree, elsewhere)
    monkeypatch.setattr(module, "ROOT", elsewhere)
    assert code_hash("components.a") == before


def test_an_upgrade_of_a_library_that_decides_results_changes_the_hash(
    small_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_tree / "data" / "b.py").write_text("def f():\n    from keras import layers\n")
    before = code_hash("components.a")
    upgraded: list[str] = []
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "9" if name in upgraded else version(name)
    )
    upgraded.append("numpy")
    assert code_hash("components.a") == before  # it is not imported
    upgraded.append("keras")
    assert code_hash("components.a") != before
