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


def reacting(tree: Path, name: str) -> set[str]:
    """The modules whose edit changes the hash of a module."""
    found = set()
    for file in sorted(tree.rglob("*.py")):
        content, before = file.read_bytes(), code_hash(name)
        append(file)
        if code_hash(name) != before:
            found.add(file.relative_to(tree).with_suffix("").as_posix().replace("/", "."))
        file.write_bytes(content)
    return found


def test_the_trainer_depends_on_all_that_makes_the_model_and_on_nothing_after_it(
    tree: Path,
) -> None:
    found = reacting(tree, "components.trainer")
    assert found >= {
        "components.augmentation",
        "components.backbone",
        "components.checkpoint",
        "components.classifier",
        "components.curves",
        "components.dataset",
        "components.export",
        "components.lite0",
        "components.settings",
        "components.tiny",
        "components.trainer",
        "components.training",
        "components.weights",
        "data.features",
        "serving.contract",
    }
    assert not found & {"components.pusher", "components.report", "components.evaluation"}
    others = found - {"serving.contract"}
    assert not [name for name in others if name.startswith(("pipeline.", "serving."))]


def test_an_edit_of_the_trainer_does_not_run_transform_again(tree: Path) -> None:
    assert reacting(tree, "components.preprocessing") == {
        "components.preprocessing",
        "data.features",
    }


def test_the_servable_gate_depends_on_what_checks_and_not_on_what_asks_or_listens(
    tree: Path,
) -> None:
    found = reacting(tree, "components.servable_gate")
    assert found >= {
        "serving.checking.c_loader",
        "serving.checking.export_check",
        "serving.contract",
        "serving.embedded.saved_model",
        "serving.embedded.tensors",
    }
    assert not [name for name in found if name.startswith("serving.asking.")]
    assert not found & {"serving.embedded.app", "serving.embedded.server"}
