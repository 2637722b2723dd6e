"""The pool of Beam's workers that the image starts."""

import os
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.beam_args import beam_args
from tests.beam_pool import worker_pool


def test_its_workers_can_import_what_tfx_stands_in_for(tmp_path: Path) -> None:
    def tell(file: str) -> None:
        import tensorflow_data_validation  # noqa: F401

        Path(file).write_text(str(os.getpid()))

    with worker_pool(tmp_path / "pool") as pool:
        options = beam_args(
            {
                "runner": "PortableRunner",
                "job_endpoint": "embed",
                "environment_type": "EXTERNAL",
                "environment_config": pool.address,
            }
        )
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = pipeline | beam.Create([str(tmp_path / "found")]) | beam.Map(tell)
    assert (tmp_path / "found").read_text() == str(pool.process.pid)
