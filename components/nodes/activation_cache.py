"""The ActivationCache node: what the frozen layers make of every photo, computed once.

All that training needs of a photo is the activations at the freeze boundary or, for the head alone,
the pooled features. Both are computed here for a few augmented views of each training photo and
for the plain photos of the validation split. The test split is left to the Evaluator.
"""

import json
from collections.abc import Sequence
from typing import Any

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
from components.training.cache.format import CacheManifest
from components.training.cache.reuse import recipe_of
from components.training.cache.writing import fill
from data.contract import features

SPLITS = (features.TRAIN, features.VAL)
"""Those that training looks at."""


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
        "backbone": ExecutionParameter(type=str),
        "weights": ExecutionParameter(type=str),
        "weights_hash": ExecutionParameter(type=str),
        "boundary_layer": ExecutionParameter(type=str),
        "augmentation": ExecutionParameter(type=str),
        "classes": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
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
        boundary_layer = exec_properties["boundary_layer"]
        augmentation = AugmentationSettings.model_validate_json(exec_properties["augmentation"])

        name, weights = exec_properties["backbone"], exec_properties["weights"]
        require_same_weights(name, weights, exec_properties["weights_hash"])
        backbone, origin = build_backbone(name, weights)
        spatial_shape, pooled_size = activation_shapes(backbone, boundary_layer)
        found = {split: count_labels(statistics, split) for split in SPLITS}
        manifest = CacheManifest(
            backbone=name,
            weights=origin,
            boundary_layer=boundary_layer,
            spatial_shape=spatial_shape,
            pooled_size=pooled_size,
            augmentation=augmentation,
            photos={split: sum(counts.values()) for split, counts in found.items()},
            label_counts=found[features.TRAIN],
            recipe=recipe_of(backbone, boundary_layer, augmentation, code=exec_properties["code"]),
        )
        fill(
            output.uri,
            manifest,
            sources={split: split_files(examples, split) for split in SPLITS},
            classes=json.loads(exec_properties["classes"]),
            transform_graph=transform_graph,
            backbone=backbone,
            new_pipeline=self._make_beam_pipeline,
        )


class ActivationCache(BaseBeamComponent):
    """Examples to activations, through Transform's graph and the frozen layers of a backbone."""

    SPEC_CLASS = ActivationCacheSpec
    EXECUTOR_SPEC = BeamExecutorSpec(ActivationCacheExecutor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        statistics: types.BaseChannel,
        backbone: str,
        weights: str,
        weights_hash: str,
        boundary_layer: str,
        augmentation: str,
        classes: Sequence[str],
        code: str,
    ) -> None:
        """Every argument is part of the key under which TFX caches the activations.

        Args:
            examples: the photos, as ImportExampleGen leaves them.
            transform_graph: what turns them into pixels and label ids.
            statistics: StatisticsGen's of the same examples: how many photos there are.
            backbone: one of `backbone.names()`.
            weights: as `build_backbone` takes them.
            weights_hash: from `weights_fingerprint`.
            boundary_layer: name of the layer whose output is kept, from `boundary_layer_of`.
            augmentation: JSON of AugmentationSettings, its `mode` left out.
            classes: class names in the order of their ids.
            code: hash of the code that runs inside the node.
        """
        super().__init__(
            ActivationCacheSpec(
                examples=examples,
                transform_graph=transform_graph,
                statistics=statistics,
                backbone=backbone,
                weights=weights,
                weights_hash=weights_hash,
                boundary_layer=boundary_layer,
                augmentation=augmentation,
                classes=json.dumps(list(classes)),
                code=code,
                activations=types.Channel(type=standard_artifacts.Examples),
            )
        )
