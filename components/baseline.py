"""The model that a new one must not be worse than, where the platform cannot look it up.

TFX's Resolver asks the metadata store of the platform for the last blessed model. Kubeflow
Pipelines does not run resolvers; there the newest pushed version is taken, which is the same one.
"""

from tfx import components, types
from tfx.components.evaluator import executor
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import io_utils, path_utils

from components.pusher import base_directory, versions


@component
def LatestPushedModel(  # noqa: N802 (a TFX component is named like a class)
    model: OutputArtifact[standard_artifacts.Model],
    push_destination: Parameter[str],
) -> None:
    """Copies the newest pushed version into a Model artifact; leaves it empty if there is none.

    Args:
        model: the copy.
        push_destination: JSON of a PushDestination, as the Pusher takes it.
    """
    pushed = versions(base_directory(push_destination))
    if pushed:
        io_utils.copy_dir(pushed[-1], path_utils.serving_model_dir(model.uri))


class EvaluatorExecutor(executor.Executor):
    """TFX's executor, for which an empty baseline is none."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, object],
    ) -> None:
        key = standard_component_specs.BASELINE_MODEL_KEY
        baselines = [
            model
            for model in input_dict.get(key, [])
            if fileio.exists(path_utils.serving_model_dir(model.uri))
        ]
        super().Do({**input_dict, key: baselines}, output_dict, exec_properties)


class Evaluator(components.Evaluator):
    """TFX's Evaluator, whose baseline may be an empty Model."""

    EXECUTOR_SPEC = BeamExecutorSpec(EvaluatorExecutor)
