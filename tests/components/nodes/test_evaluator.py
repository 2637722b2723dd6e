from pathlib import Path
from typing import Any

import pytest
from tfx.components.evaluator import executor
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.errors import ComponentError
from components.nodes.evaluator import NO_BASELINE, Evaluator, EvaluatorExecutor


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What TFX's executor is given."""
    calls: list[Any] = []
    monkeypatch.setattr(executor.Executor, "Do", lambda _, *given: calls.append(given))
    return calls


def test_a_baseline_is_passed_on_and_a_declared_absence_is_none(
    evaluated: list[Any], new_artifact: Any
) -> None:
    model, full, none = (new_artifact(standard_artifacts.Model) for _ in range(3))
    Path(path_utils.serving_model_dir(full.uri)).mkdir()
    (Path(none.uri) / NO_BASELINE).touch()
    examples = new_artifact(standard_artifacts.Examples)
    blessing = new_artifact(standard_artifacts.ModelBlessing)
    for baselines in ([full], [none], []):
        EvaluatorExecutor().Do(
            {"examples": [examples], "model": [model], "baseline_model": baselines},
            {"blessing": [blessing]},
            {"eval_config": "{}"},
        )
    assert [given["baseline_model"] for given, *_ in evaluated] == [[full], [], []]
    for given, *others in evaluated:
        assert given["examples"] == [examples]
        assert given["model"] == [model]
        assert others == [{"blessing": [blessing]}, {"eval_config": "{}"}]


def test_a_baseline_whose_files_are_gone_is_an_error_that_names_the_fix(
    evaluated: list[Any], new_artifact: Any
) -> None:
    gone = new_artifact(standard_artifacts.Model)
    with pytest.raises(ComponentError, match=f"{gone.uri}/Format-Serving is gone.*put it back"):
        EvaluatorExecutor().Do({"model": [], "baseline_model": [gone]}, {}, {})
    assert not evaluated


def test_an_evaluator_may_be_told_of_no_baseline_at_all(evaluated: list[Any]) -> None:
    EvaluatorExecutor().Do({"model": []}, {}, {})
    assert evaluated == [({"model": [], "baseline_model": []}, {}, {})]


def test_the_evaluator_of_the_pipeline_runs_this_executor() -> None:
    assert Evaluator.EXECUTOR_SPEC.executor_class is EvaluatorExecutor
