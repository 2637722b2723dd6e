"""The ServableGate node: no model is pushed that TF Serving could not serve."""

from tfx.dsl.component.experimental.annotations import InputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.errors import ComponentError
from components.staging import readable
from serving.checking.export_check import check_export


@component
def ServableGate(  # noqa: N802 (a TFX component is named like a class)
    model: InputArtifact[standard_artifacts.Model],
    code: Parameter[str],
) -> None:
    """Fails the run when a trained model could not be served.

    Args:
        model: the one Trainer made.
        code: a hash of the code that checks, for the cache.

    Raises:
        ComponentError: names each check that failed and why.
    """
    with readable(path_utils.serving_model_path(model.uri)) as version:
        problems = [
            f"{check.name}: {problem}"
            for check in check_export(version)
            for problem in check.problems
        ]
    if problems:
        raise ComponentError(f"the model cannot be served: {'; '.join(problems)}")
