"""The ServableGate node: no model is pushed that TF Serving could not serve; and what it costs."""

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.errors import ComponentError
from components.staging import readable
from data.contract.servable import LATENCY_MS, SIZE_MB
from serving.checking.export_check import check_export


@component
def ServableGate(  # noqa: N802 (a TFX component is named like a class)
    model: InputArtifact[standard_artifacts.Model],
    servable: OutputArtifact[standard_artifacts.InfraBlessing],
    code: Parameter[str],
) -> None:
    """Fails the run when a trained model could not be served, and measures what serving it costs.

    Args:
        model: the one Trainer made.
        servable: receives its size and the time for one photo, as the properties `SIZE_MB` and
            `LATENCY_MS`.
        code: a hash of the code that checks, for the cache.

    Raises:
        ComponentError: names each check that failed and why.
    """
    with readable(path_utils.serving_model_path(model.uri)) as version:
        checks = list(check_export(version))
    problems = [f"{check.name}: {problem}" for check in checks for problem in check.problems]
    cost = checks[-1].cost
    if problems or cost is None:
        raise ComponentError(f"the model cannot be served: {'; '.join(problems)}")
    servable.set_float_custom_property(SIZE_MB, cost.size_mb)
    servable.set_float_custom_property(LATENCY_MS, cost.latency_ms)
