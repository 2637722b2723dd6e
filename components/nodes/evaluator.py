"""The Evaluator node: TFX's, keyed by the code of our metric, and strict about the baseline."""

from typing import Any

from tfx import types
from tfx.components.evaluator import executor
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ExecutionParameter
from tfx.utils import json_utils, path_utils

from components.errors import ComponentError
from components.evaluation.gate import eval_config
from components.evaluation.settings import GateSettings

NO_BASELINE = "nothing-was-pushed"
"""The file that an empty Model holds, so that one whose files are gone is not taken for it."""


class EvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's, and the code that runs inside."""

    PARAMETERS = {  # noqa: RUF012 (TFX's form)
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        "code": ExecutionParameter(type=str),
    }


class EvaluatorExecutor(executor.Executor):
    """TFX's executor, which does not go on without a baseline whose files are gone."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        key = standard_component_specs.BASELINE_MODEL_KEY
        baselines = [model for model in input_dict.get(key, []) if _is_there(model)]
        super().Do({**input_dict, key: baselines}, output_dict, exec_properties)


def _is_there(baseline: types.Artifact) -> bool:
    """Whether there is a baseline in a Model artifact.

    Raises:
        ComponentError: there was, and its files are gone.
    """
    folder = path_utils.serving_model_dir(baseline.uri)
    if fileio.exists(folder):
        return True
    if fileio.exists(f"{baseline.uri}/{NO_BASELINE}"):
        return False
    raise ComponentError(
        f"{folder} is gone, the model that was pushed last: without it nothing says whether the "
        "new one is worse; put it back (a copy of the version that is served will do) or begin in "
        "another folder"
    )


class Evaluator(BaseBeamComponent):
    """A model, and the one pushed last, on examples: figures and the gate's verdict."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(EvaluatorExecutor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        example_splits: list[str],
        gate: GateSettings,
        code: str,
    ) -> None:
        """Every argument is part of the key under which TFX caches the verdict.

        Args:
            examples: the photos, as ImportExampleGen leaves them.
            model: what Trainer has made.
            baseline_model: what it is compared with; may be none.
            example_splits: the splits it is measured on.
            gate: what it must reach.
            code: hash of the code that runs inside the node.
        """
        super().__init__(
            EvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                example_splits=json_utils.dumps(example_splits),
                fairness_indicator_thresholds=json_utils.dumps(None),
                eval_config=eval_config(gate),
                code=code,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
