"""How each version did on the test photos of one span after the other."""

from collections.abc import Mapping

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.errors import ComponentError
from components.evaluation.figures import Comparison, read_evaluation
from pipeline.lineage.history import made_by_run
from pipeline.outputs import PIPELINE_RUN
from pipeline.pushed_models import MODEL, inputs_behind, pushed_models

LAST, BEST = "baseline_model", "best_models"
"""The Evaluator's inputs that hold the other models it asks; of the last, the first is asked."""

NOT_PUSHED = "not pushed"
"""In the place of a version."""
RUNS = 100
"""The newest, of which the evaluations are read."""


def accuracy_by_span(store: MetadataStore) -> dict[str, dict[int, float]]:
    """Test accuracy of each version on each span that an Evaluator has asked it about.

    Args:
        store: where the runs are kept. Evaluations whose files are gone, and runs from before
            spans were recorded, tell nothing.

    Returns:
        By version, the oldest first, and then by the number of the span; of several evaluations on
        one span, the newest. The model of the newest run is there as `NOT_PUSHED` if it was not.
    """
    runs = {context.id: context for context in store.get_contexts_by_type(PIPELINE_RUN)}
    evaluations = made_by_run(store, "ModelEvaluation", runs)
    newest = sorted(evaluations)[-RUNS:]
    asked = inputs_behind(store, evaluations.values())
    versions = dict(pushed_models(store))
    found: dict[str, dict[int, float]] = {
        version: {} for version in (*sorted(versions.values(), key=int), NOT_PUSHED)
    }
    for run in newest:
        span = runs[run].custom_properties["span"].int_value
        models = asked.get(evaluations[run].id, {})
        if not span:
            continue
        for model, accuracy in _measured(evaluations[run], models).items():
            if model in versions:
                found[versions[model]][span] = accuracy
            elif run == newest[-1] and model == models.get(MODEL):
                found[NOT_PUSHED][span] = accuracy
    return {version: by_span for version, by_span in found.items() if by_span}


def _measured(evaluation: mlmd.Artifact, asked: Mapping[str, int]) -> dict[int, float]:
    """The accuracy of each model that an evaluation is about, by the model's id."""
    try:
        said = read_evaluation(evaluation.uri)
    except ComponentError:
        return {}
    others = {LAST: said.last, BEST: said.best}
    measured = {asked[MODEL]: said.accuracy} if MODEL in asked else {}
    for key, comparison in others.items():
        if key in asked and isinstance(comparison, Comparison):
            measured[asked[key]] = comparison.accuracy
    return measured
