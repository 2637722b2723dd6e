from pathlib import Path
from typing import Any

import pytest
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from components.errors import ComponentError
from components.nodes.example_gen import ImportExampleGen, ShardCopier
from data.contract.features import SPLITS
from data.ingest import IngestResult


def copy_span(span: Path, output: Any) -> None:
    """Runs the executor as TFX's driver has it run: with the span's number in the patterns."""
    splits = [
        example_gen_pb2.Input.Split(name=split, pattern=f"{span.name}/{split}-*.tfrecord.gz")
        for split in SPLITS
    ]
    config = proto_utils.proto_to_json(example_gen_pb2.Input(splits=splits))
    ShardCopier().Do(
        {}, {"examples": [output]}, {"input_base": str(span.parent), "input_config": config}
    )


def test_each_split_holds_the_shards_of_the_span_byte_for_byte(
    ingested: IngestResult, new_artifact: Any
) -> None:
    output = new_artifact(standard_artifacts.Examples)
    copy_span(ingested.span_dir, output)
    assert output.split_names == '["train", "val", "test"]'
    for split in SPLITS:
        copies = sorted((Path(output.uri) / f"Split-{split}").iterdir())
        shards = sorted(ingested.span_dir.glob(f"{split}-*.tfrecord.gz"))
        assert [file.name for file in copies] == [file.name for file in shards]
        assert [file.read_bytes() for file in copies] == [file.read_bytes() for file in shards]


def test_a_split_without_records_is_an_error_that_names_the_fix(
    tmp_path: Path, new_artifact: Any
) -> None:
    output = new_artifact(standard_artifacts.Examples)
    with pytest.raises(ComponentError, match=r"span-1/train-\*\S+: no such records; write them"):
        copy_span(tmp_path / "span-1", output)


def test_the_node_of_the_pipeline_runs_this_executor() -> None:
    assert ImportExampleGen.EXECUTOR_SPEC.executor_class is ShardCopier
