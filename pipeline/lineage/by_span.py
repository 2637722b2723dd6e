"""How each version did on the test photos of one span after the other."""

from collections.abc import Iterable, Mapping

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.errors import ComponentError
from components.evaluation.figures import Comparison, read_evaluation
from pipeline.lineage.history import made_by_run
from pipeline.outputs import PIPELINE_RUN, pushed_version

CANDIDATE, LAST, BEST = "model", "baseline_model", "best_models"
"""The Evaluator's inputs that hold the models it asks; of the last, the first is asked."""

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
    asked = _inputs(store, evaluations.values())
    versions = _versions(store)
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
            elif run == newest[-1] and model == models[CANDIDATE]:
                found[NOT_PUSHED][span] = accuracy
    return {version: by_span for version, by_span in found.items() if by_span}


def _versions(store: MetadataStore) -> dict[int, str]:
    """The version that each pushed Model became, by the Model's id."""
    pushed = {
        artifact.id: version
        for artifact in store.get_artifacts_by_type("PushedModel")
        if (version := pushed_version(artifact))
    }
    if not pushed:
        return {}
    made = {
        event.execution_id: pushed[event.artifact_id]
        for event in store.get_events_by_artifact_ids(list(pushed))
        if event.type == mlmd.Event.OUTPUT
    }
    return {
        event.artifact_id: made[event.execution_id]
        for event in store.get_events_by_execution_ids(list(made))
        if event.type == mlmd.Event.INPUT and event.path.steps[0].key == CANDIDATE
    }


def _inputs(
    store: MetadataStore, evaluations: Iterable[mlmd.Artifact]
) -> Mapping[int, Mapping[str, int]]:
    """The ids of the models that each evaluation is about, by the Evaluator's inputs."""
    numbers = [artifact.id for artifact in evaluations]
    if not numbers:
        return {}
    by_execution = {
        event.execution_id: event.artifact_id
        for event in store.get_events_by_artifact_ids(numbers)
        if event.type == mlmd.Event.OUTPUT
    }
    found: dict[int, dict[str, int]] = {number: {} for number in numbers}
    for event in store.get_events_by_execution_ids(list(by_execution)):
        key, *rest = event.path.steps
        first = not rest or rest[0].index == 0
        if event.type == mlmd.Event.INPUT and first:
            found[by_execution[event.execution_id]][key.key] = event.artifact_id
    return found


def _measured(evaluation: mlmd.Artifact, asked: Mapping[str, int]) -> dict[int, float]:
    """The accuracy of each model that an evaluation is about, by the model's id."""
    try:
        said = read_evaluation(evaluation.uri)
    except ComponentError:
        return {}
    others = {LAST: said.last, BEST: said.best}
    measured = {asked[CANDIDATE]: said.accuracy} if CANDIDATE in asked else {}
    for key, comparison in others.items():
        if key in asked and isinstance(comparison, Comparison):
            measured[asked[key]] = comparison.accuracy
    return measured
