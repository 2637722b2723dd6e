"""The gate that keeps a model that nobody could serve from being pushed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.errors import ComponentError
from components.model.classifier import build_classifier
from components.nodes import servable_gate
from components.nodes.servable_gate import ServableGate
from data.contract.servable import WARM_UP
from pipeline.config import Config
from serving.checking.export_check import Check


def check(model: Any) -> None:
    ServableGate.EXECUTOR_SPEC.executor_class().Do({"model": [model]}, {}, {"code": ""})


def run(tmp_path: Path) -> None:
    model = standard_artifacts.Model()
    model.uri = str(tmp_path)
    (tmp_path / "Format-Serving").mkdir()
    check(model)


def test_what_the_checks_find_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(version: Path) -> Iterator[Check]:
        assert version == tmp_path / "Format-Serving"
        yield Check("tag", ())
        yield Check("operations", ("PyFunc calls Python", "EagerPyFunc calls Python"))

    monkeypatch.setattr(servable_gate, "check_export", found)
    with pytest.raises(ComponentError) as caught:
        run(tmp_path)
    assert str(caught.value) == (
        "the model cannot be served: operations: PyFunc calls Python; "
        "operations: EagerPyFunc calls Python"
    )


def test_a_model_without_problems_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servable_gate, "check_export", lambda _: iter([Check("tag", ())]))
    run(tmp_path)


def test_a_remote_model_is_checked(
    config: Config, export_plainly: Any, new_artifact: Any, to_remote: Any
) -> None:
    model = new_artifact(standard_artifacts.Model)
    version = Path(path_utils.serving_model_dir(model.uri))
    export_plainly(build_classifier(config.model, len(config.classes)), version)
    check(to_remote(model))
    (version / WARM_UP).unlink()
    with pytest.raises(ComponentError, match="answers its warm-up requests: there are none"):
        check(to_remote(model))
