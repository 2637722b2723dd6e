"""The ImportExampleGen node: TFX's, which copies the shards instead of their records one by one.

`data/` has already split, checked and compressed the photos. TFX's executor passes every one of
them through Beam and compresses it once more, which takes seconds and gigabytes, for the same
records in another order; training shuffles them anyway.
"""

from typing import Any

import apache_beam as beam
from tfx import components, types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.errors import ComponentError


class ShardCopier(BaseBeamExecutor):
    """Copies the files of each split into the artifact, where Beam has workers one on each."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        (examples,) = output_dict[standard_component_specs.EXAMPLES_KEY]
        base = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        config = example_gen_pb2.Input()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.INPUT_CONFIG_KEY], config
        )
        names = [split.name for split in config.splits]
        examples.split_names = artifact_utils.encode_split_names(names)
        copies = [
            (shard, f"{artifact_utils.get_split_uri([examples], split.name)}/{_name(shard)}")
            for split in config.splits
            for shard in _shards(f"{base}/{split.pattern}")
        ]
        with self._make_beam_pipeline() as pipeline:
            _ = pipeline | beam.Create(copies) | beam.Reshuffle() | beam.MapTuple(_copy)


class ImportExampleGen(components.ImportExampleGen):
    """Shards of tf.train.Example, already split, to Examples."""

    EXECUTOR_SPEC = BeamExecutorSpec(ShardCopier)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _shards(pattern: str) -> list[str]:
    """The files of a split.

    Raises:
        ComponentError: there are none.
    """
    shards = sorted(fileio.glob(pattern))
    if not shards:
        raise ComponentError(f"{pattern}: no such records; write them anew with dog-emotion data")
    return shards


def _copy(source: str, target: str) -> None:
    fileio.makedirs(target.rpartition("/")[0])
    fileio.copy(source, target)
