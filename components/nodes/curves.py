"""The Curves node: draws a training, apart from it, so that another colour trains nothing."""

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from components.staging import readable, writable
from components.training.curves import curves_figure
from components.training.history import HISTORY, read_history

PICTURE = "curves.png"


@component
def Curves(  # noqa: N802 (a TFX component is named like a class)
    model_run: InputArtifact[standard_artifacts.ModelRun],
    curves: OutputArtifact[standard_artifacts.ModelRun],
    code: Parameter[str],
) -> None:
    """Draws accuracy and loss by epoch.

    Args:
        model_run: what Trainer leaves of a training, its history among it.
        curves: gets the picture, a PNG.
        code: a hash of the code that draws, for the cache.
    """
    with readable(f"{model_run.uri}/{HISTORY}") as history:
        figure = curves_figure(read_history(history))
    with writable(curves.uri) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / PICTURE, dpi=120)
