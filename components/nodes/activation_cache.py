"""The ActivationCache node: what the frozen layers make of every photo, computed once.

All that training needs of a photo is the activations at the freeze boundary or, for the head alone,
the pooled features. Both are computed here for a few augmented views of each training photo and
for the plain photos of the validation split. The test split is left to the Evaluator.
"""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from tfx import types
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.model.extractor import activation_shapes
from components.model.weights import build_backbone, require_same_weights
from components.nodes.readings import count_labels, split_files
from components.training.augmentation_settings import AugmentationSettings
from components.training.cache.format import CacheManifest, folder_of
from components.training.cache.reuse import recipe_of
from components.training.cache.writing import fill
from data.contract import features

SPLITS = (features.TRAIN, features.VAL)
"""Those that training looks at."""


class Member(BaseModel):
    """A backbone, and all of it that its activations follow from."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    backbone: str
    """One of `backbone.names()`."""
    weights: str
    """As `build_backbone` takes them."""
    weights_hash: str
    """From `weights_fingerprint`."""
    boundary_layer: str
    """Name of the layer whose output is kept, from `boundary_layer_of`."""
    code: str
    """Hash of the code that makes them."""


_MEMBERS = TypeAdapter(list[Member])


class ActivationCacheSpec(ComponentSpec):
    """What goes into the node and comes out of it."""

    INPUTS = {  # noqa: RUF012 (TFX's form)
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
    }
    OUTPUTS = {  # noqa: RUF012
        "activations": ChannelParameter(type=standard_artifacts.Examples),
    }
    PARAMETERS = {  # noqa: RUF012
        "members": ExecutionParameter(type=str),
        "augmentation": ExecutionParameter(type=str),
        "classes": ExecutionParameter(type=str),
    }


class ActivationCacheExecutor(BaseBeamExecutor):
    """Announces the disk use, fills the files with Beam, and declares them complete."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        (examples,), (statistics,) = input_dict["examples"], input_dict["statistics"]
        transform_graph = artifact_utils.get_single_uri(input_dict["transform_graph"])
        (output,) = output_dict["activations"]
        output.split_names = artifact_utils.encode_split_names(list(SPLITS))
        output.span = examples.span
        augmentation = AugmentationSettings.model_validate_json(exec_properties["augmentation"])
        found = {split: count_labels(statistics, split) for split in SPLITS}
        members = _MEMBERS.validate_json(exec_properties["members"])
        for member in members:
            name, boundary_layer = member.backbone, member.boundary_layer
            if len(members) > 1:
                print(f"  {name}:", flush=True)
            require_same_weights(name, member.weights, member.weights_hash)
            backbone, origin = build_backbone(name, member.weights)
            spatial_shape, pooled_size = activation_shapes(backbone, boundary_layer)
            manifest = CacheManifest(
                backbone=name,
                weights=origin,
                boundary_layer=boundary_layer,
                spatial_shape=spatial_shape,
                pooled_size=pooled_size,
                augmentation=augmentation,
                photos={split: sum(counts.values()) for split, counts in found.items()},
                label_counts=found[features.TRAIN],
                recipe=recipe_of(backbone, boundary_layer, augmentation, code=member.code),
            )
            fill(
                folder_of(output.uri, name, [each.backbone for each in members]),
                manifest,
                artifact=output.uri,
                sources={split: split_files(examples, split) for split in SPLITS},
                classes=json.loads(exec_properties["classes"]),
                transform_graph=transform_graph,
                backbone=backbone,
                new_pipeline=self._make_beam_pipeline,
            )


class ActivationCache(BaseBeamComponent):
    """Examples to activations, through Transform's graph and the frozen layers of each backbone."""

    SPEC_CLASS = ActivationCacheSpec
    EXECUTOR_SPEC = BeamExecutorSpec(ActivationCacheExecutor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        statistics: types.BaseChannel,
        members: Sequence[Member],
        augmentation: str,
        classes: Sequence[str],
    ) -> None:
        """Every argument is part of the key under which TFX caches the activations.

        Args:
            examples: the photos, as ImportExampleGen leaves them.
            transform_graph: what turns them into pixels and label ids.
            statistics: StatisticsGen's of the same examples: how many photos there are.
            members: the backbone, or those of an ensemble; what an earlier run has computed of one
                of them is taken over.
            augmentation: JSON of AugmentationSettings, its `mode` left out.
            classes: class names in the order of their ids.
        """
        super().__init__(
            ActivationCacheSpec(
                examples=examples,
                transform_graph=transform_graph,
                statistics=statistics,
                members=_MEMBERS.dump_json(list(members)).decode(),
                augmentation=augmentation,
                classes=json.dumps(list(classes)),
                activations=types.Channel(type=standard_artifacts.Examples),
            )
        )
