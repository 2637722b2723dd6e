"""The pool of Beam's workers that the image starts."""

import os
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from data.drawn_dogs import draw_dataset
from data.ingest import ingest
from pipeline.beam_args import beam_args
from tests.beam_pool import Pool, worker_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with worker_pool(tmp_path_factory.mktemp("pool")) as started:
        yield started


@pytest.fixture(scope="module")
def options(pool: Pool) -> tuple[str, ...]:
    """Beam's, for workers from the pool."""
    return beam_args(
        {
            "runner": "PortableRunner",
            "job_endpoint": "embed",
            "environment_type": "EXTERNAL",
            "environment_config": pool.address,
        }
    )


def test_its_workers_can_import_what_tfx_stands_in_for(
    pool: Pool, options: tuple[str, ...], tmp_path: Path
) -> None:
    def tell(file: str) -> None:
        import tensorflow_data_validation  # noqa: F401

        Path(file).write_text(str(os.getpid()))

    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        _ = pipeline | beam.Create([str(tmp_path / "found")]) | beam.Map(tell)
    assert (tmp_path / "found").read_text() == str(pool.process.pid)


def test_its_workers_find_what_is_named_relative_to_another_folder(
    options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_dataset(tmp_path / "photos", per_class=21, seed=0)
    monkeypatch.chdir(tmp_path)
    source, records = Path("photos"), Path("records")
    ingest(source, records, beam_options=options)
    # One photo less: the others are taken from the records.
    next(source.glob("happy/*")).unlink()
    second = ingest(source, records, beam_options=options)
    assert second.span == 2
    here = ingest(source, Path("here"))
    assert second.counts == here.counts
    assert {file.name: file.read_bytes() for file in second.span_dir.glob("*.gz")} == {
        file.name: file.read_bytes() for file in here.span_dir.glob("*.gz")
    }
