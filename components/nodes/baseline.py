"""The models that a new one must not be worse than: the one pushed last, and the best before it.

On this machine the metadata store knows them. Kubeflow Pipelines does not run resolvers; there
pushed versions are copied, which are the same models.
"""

import json
from collections.abc import Sequence

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import types
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import io_utils, path_utils

from components.nodes.evaluator import NO_BASELINE, OTHERS
from components.nodes.pusher import versions
from components.staging import copy_folder
from data.contract.model import ACCURACY, TEST_FIGURES, base_directory


class LastPushedStrategy(ResolverStrategy):
    """Resolves the Model that Pusher pushed last, or that it last found pushed already.

    TFX's LatestBlessedModelStrategy takes the blessed model with the highest id. That is another
    one if a training came from the cache, or if a blessed model was not pushed.
    """

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Chooses among the artifacts of the pipeline.

        Args:
            store: the metadata store.
            input_dict: all artifacts under `model` and `pushed_model`.

        Returns:
            One of each, or none.
        """
        last = _pushed(input_dict)[-1:]
        models = _models_behind(store, [each.id for each in last])
        return {
            standard_component_specs.MODEL_KEY: [
                model
                for model in input_dict[standard_component_specs.MODEL_KEY]
                if model.id in models
            ],
            standard_component_specs.PUSHED_MODEL_KEY: last,
        }


class BestPushedStrategy(ResolverStrategy):
    """Resolves all other Models that were ever pushed, the one with the highest accuracy first.

    Only the first one is compared with; that it is the best of so many is a part of the test. So
    each has a PushedModel beside it, and those whose files were removed since have it alone: TFX
    leaves out Models that are marked as deleted, but nobody removes PushedModels.
    """

    def resolve_artifacts(
        self, store: MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Chooses among the artifacts of the pipeline.

        Args:
            store: the metadata store.
            input_dict: all artifacts under `model`, `pushed_model` and `evaluation`, of which each
                model's newest names its accuracy. Models that earlier versions of this code have
                evaluated come last, the newest first.

        Returns:
            Models, or none, and the first PushedModel of each that there is or was: that of a later
            push would be another input of the Evaluator, whose verdict is the same.
        """
        pushed = _pushed(input_dict)
        *others, last = [each.id for each in pushed] or [0]
        latest = _models_behind(store, [last])
        first = {
            model: made
            for made, model in sorted(_pairs(store, others), reverse=True)
            if model not in latest
        }
        models, made = set(first), set(first.values())
        accuracies = _accuracies(store, input_dict[standard_component_specs.EVALUATION_KEY])
        found = sorted(
            (each for each in input_dict[standard_component_specs.MODEL_KEY] if each.id in models),
            key=lambda model: (accuracies.get(model.id, 0.0), model.id),
            reverse=True,
        )
        return {
            standard_component_specs.MODEL_KEY: found,
            standard_component_specs.PUSHED_MODEL_KEY: [each for each in pushed if each.id in made],
            standard_component_specs.EVALUATION_KEY: [],
        }


def _pushed(input_dict: dict[str, list[types.Artifact]]) -> list[types.Artifact]:
    """The PushedModels that hold a model, oldest first."""
    pushed = (
        artifact
        for artifact in input_dict[standard_component_specs.PUSHED_MODEL_KEY]
        if artifact.get_int_custom_property("pushed")
    )
    return sorted(pushed, key=lambda artifact: int(artifact.id))


def _models_behind(store: MetadataStore, made: Sequence[int]) -> set[int]:
    """The ids of the Models that were given to the nodes that made some artifacts."""
    return {model for _, model in _pairs(store, made)}


def _accuracies(store: MetadataStore, evaluations: Sequence[types.Artifact]) -> dict[int, float]:
    """The accuracy of each Model in its newest evaluation, by the Model's id."""
    measured = {
        each.id: each.get_float_custom_property(ACCURACY)
        for each in evaluations
        if each.has_custom_property(ACCURACY)
    }
    return {model: measured[made] for made, model in sorted(_pairs(store, list(measured)))}


def _pairs(store: MetadataStore, made: Sequence[int]) -> set[tuple[int, int]]:
    """The ids of artifacts, each with that of the Model that its node was given."""
    if not made:
        return set()
    outputs = [
        event for event in store.get_events_by_artifact_ids(made) if event.type == mlmd.Event.OUTPUT
    ]
    inputs = {
        event.execution_id: event.artifact_id
        for event in store.get_events_by_execution_ids({event.execution_id for event in outputs})
        if event.type == mlmd.Event.INPUT
        and event.path.steps[0].key == standard_component_specs.MODEL_KEY
    }
    return {(event.artifact_id, inputs[event.execution_id]) for event in outputs}


@component
def LatestPushedModel(  # noqa: N802 (a TFX component is named like a class)
    model: OutputArtifact[standard_artifacts.Model],
    push_destination: Parameter[str],
) -> None:
    """Copies the newest pushed version into a Model artifact, or says in it that there is none.

    Args:
        model: the copy.
        push_destination: JSON of a PushDestination, as the Pusher takes it.
    """
    pushed = versions(base_directory(push_destination))
    if pushed:
        copy_folder(pushed[-1], path_utils.serving_model_dir(model.uri))
    else:
        io_utils.write_string_file(f"{model.uri}/{NO_BASELINE}", "")


@component
def BestPushedModel(  # noqa: N802 (a TFX component is named like a class)
    model: OutputArtifact[standard_artifacts.Model],
    push_destination: Parameter[str],
) -> None:
    """Copies the most accurate of the versions before the newest, or says that there are none.

    Args:
        model: the copy; its property `OTHERS` is the number of those versions.
        push_destination: JSON of a PushDestination, as the Pusher takes it.
    """
    others = versions(base_directory(push_destination))[:-1]
    if others:
        best = max(reversed(others), key=_accuracy)
        copy_folder(best, path_utils.serving_model_dir(model.uri))
        model.set_int_custom_property(OTHERS, len(others))
    else:
        io_utils.write_string_file(f"{model.uri}/{NO_BASELINE}", "")


def _accuracy(version: str) -> float:
    """What Pusher has written down; 0 where an earlier version of this code has not."""
    file = f"{version}/{TEST_FIGURES}"
    return (
        float(json.loads(io_utils.read_string_file(file))[ACCURACY]) if fileio.exists(file) else 0.0
    )
