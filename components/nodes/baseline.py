"""The model that a new one must not be worse than: the one that was pushed last.

On this machine the metadata store knows it. Kubeflow Pipelines does not run resolvers; there the
newest pushed version is copied, which is the same model.
"""

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import types
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import io_utils, path_utils

from components.nodes.evaluator import NO_BASELINE
from components.nodes.pusher import versions
from components.staging import copy_folder
from data.contract.model import base_directory


class LastPushedStrategy(ResolverStrategy):
    """Resolves the Model that Pusher pushed last, or last found to be the served one.

    TFX's LatestBlessedModelStrategy takes the blessed model with the highest id. That is another
    one where a training came from the cache, or where a blessed model was not pushed.
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
        pushed = [
            artifact
            for artifact in input_dict[standard_component_specs.PUSHED_MODEL_KEY]
            if artifact.get_int_custom_property("pushed")
        ]
        last = max(pushed, key=lambda artifact: int(artifact.id), default=None)
        models = _models_behind(store, last.id) if last else set()
        return {
            standard_component_specs.MODEL_KEY: [
                model
                for model in input_dict[standard_component_specs.MODEL_KEY]
                if model.id in models
            ],
            standard_component_specs.PUSHED_MODEL_KEY: [last] if last else [],
        }


def _models_behind(store: MetadataStore, pushed: int) -> set[int]:
    """The id of the Model that the Pusher behind a PushedModel was given."""
    made = store.get_events_by_artifact_ids([pushed])
    pushers = {event.execution_id for event in made if event.type == mlmd.Event.OUTPUT}
    return {
        event.artifact_id
        for event in store.get_events_by_execution_ids(pushers)
        if event.type == mlmd.Event.INPUT
        and event.path.steps[0].key == standard_component_specs.MODEL_KEY
    }


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
