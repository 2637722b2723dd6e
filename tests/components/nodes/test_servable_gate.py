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
from data.contract.servable import LATENCY_MS, SIZE_MB, WARM_UP
from pipeline.config import Config
from serving.checking.export_check import Check


def check(model: Any) -> Any:
    """Runs the node; what it says about the model."""
    servable = standard_artifacts.InfraBlessing()
    executor = ServableGate.EXECUTOR_SPEC.executor_class()
    executor.Do({"model": [model]}, {"servable": [servable]}, {"code": ""})
    return servable


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


def test_a_remote_model_is_checked_and_weighed_and_timed(
    config: Config, export_plainly: Any, new_artifact: Any, to_remote: Any
) -> None:
    model = new_artifact(standard_artifacts.Model)
    version = Path(path_utils.serving_model_dir(model.uri))
    export_plainly(build_classifier(config.model, len(config.classes)), version)
    servable = check(to_remote(model))
    size = sum(file.stat().st_size for file in version.rglob("*") if file.is_file())
    assert servable.get_float_custom_property(SIZE_MB) == size / 1e6
    assert 0 < servable.get_float_custom_property(LATENCY_MS) < 10_000
    (version / WARM_UP).unlink()
    with pytest.raises(ComponentError, match="answers its warm-up requests: there are none"):
        check(to_remote(model))
