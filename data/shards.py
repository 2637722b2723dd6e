"""The two Beam passes: prepare every photo once, then write the chosen ones as TFRecord shards.

Only small facts about each photo pass between them. The JPEG bytes wait on disk, one file per
photo: a shuffle of Beam's in-process runner keeps what passes through it in memory.
"""

import dataclasses
import errno
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from data.audit import Fact
from data.contract import features
from data.contract.beam import StepCounter, step_errors_raised
from data.contract.progress import Tell
from data.errors import DataError, MemoryShortageError
from data.folder import LabelledPhoto
from data.perceptual_hash import BYTES, HASHES, Hashes, hash_changes
from data.photos import bounded_size, decode_photo, prepare_photo, read_photo

GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=0)
"""Stored: JPEG hardly shrinks, and every node would have to inflate it again."""


@dataclass(frozen=True)
class Shard:
    """A TFRecord file to write and the photos it gets."""

    path: str
    facts: tuple[Fact, ...]


_counter = StepCounter()


def prepare_photos(
    photos: Sequence[LabelledPhoto],
    folder: Path,
    tell: Tell,
    beam_options: Sequence[str],
) -> tuple[list[Fact], Hashes]:
    """Prepare every photo into `folder`.

    Returns:
        What was found, and the perceptual hashes uint8 [N, HASHES, 32] (zeros for a photo that is
        rejected), both in the order of the photos.
    """
    _counter.start(len(photos), tell)
    jpegs = [str(folder / f"{index}.jpg") for index in range(len(photos))]
    answers = folder / "facts"
    with _run_beam(beam_options) as pipeline:
        _ = (
            pipeline
            | beam.Create(list(zip(photos, jpegs, strict=True)))
            | beam.Reshuffle()
            | beam.MapTuple(_prepare)
            | beam.MapTuple(_to_json)
            | beam.io.WriteToText(str(answers))
        )
    position = {jpeg: place for place, jpeg in enumerate(jpegs)}
    facts: list[Fact | None] = [None] * len(jpegs)
    hashes = np.zeros((len(jpegs), HASHES, BYTES), np.uint8)
    for fact, found in _read_facts(answers):
        place = position[fact.jpeg]
        facts[place] = fact
        if found:
            hashes[place] = np.frombuffer(bytes.fromhex(found), np.uint8).reshape(HASHES, BYTES)
    return [fact for fact in facts if fact], hashes


def write_shards(shards: Sequence[Shard], beam_options: Sequence[str]) -> None:
    """Write the shards from their prepared photos."""
    with _run_beam(beam_options) as pipeline:
        _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.Map(_write)


@contextmanager
def _run_beam(options: Sequence[str]) -> Iterator[beam.Pipeline]:
    """A pipeline that runs at the end of the block, and fails as its steps do."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            step_errors_raised(),
            beam.Pipeline(options=PipelineOptions(list(options))) as pipeline,
        ):
            yield pipeline
    finally:
        logger.setLevel(level)


def _prepare(photo: LabelledPhoto, jpeg: str) -> tuple[Fact, str]:
    """What was found out about a photo, and its perceptual hashes, hexadecimal."""
    fact, hashes = Fact(photo.name, photo.label, jpeg), ""
    try:
        content = read_photo(photo.path)
        fact = dataclasses.replace(fact, sha256=hashlib.sha256(content).hexdigest())
        prepared = prepare_photo(content)
    except MemoryShortageError as error:
        fact = dataclasses.replace(fact, sha256="", reason=str(error))
    except DataError as error:
        fact = dataclasses.replace(fact, reason=str(error))
    else:
        Path(jpeg).write_bytes(prepared.jpeg)
        fact = dataclasses.replace(
            fact,
            pixels=prepared.pixel_sha256,
            width=prepared.width,
            height=prepared.height,
            brightness=prepared.brightness,
        )
        hashes = hash_changes(decode_photo(prepared.jpeg)).tobytes().hex()
    _counter.add()
    return fact, hashes


def _to_json(fact: Fact, hashes: str) -> str:
    return json.dumps([dataclasses.asdict(fact), hashes])


def _read_facts(answers: Path) -> Iterator[tuple[Fact, str]]:
    for file in answers.parent.glob(f"{answers.name}-*"):
        with file.open(encoding="utf-8") as lines:
            for fact, hashes in map(json.loads, lines):
                yield Fact(**fact), hashes


def _write(shard: Shard) -> None:
    try:
        with tf.io.TFRecordWriter(shard.path, GZIP) as writer:
            for fact in shard.facts:
                writer.write(_to_example(fact).SerializeToString(deterministic=True))
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message) from None


def _to_example(fact: Fact) -> tf.train.Example:
    width, height = bounded_size(fact.width, fact.height)
    values = {
        features.IMAGE: _bytes(Path(fact.jpeg).read_bytes()),
        features.FILENAME: _bytes(fact.name.encode()),
        features.LABEL: _bytes(fact.label.encode()),
        features.SHA256: _bytes(fact.sha256.encode()),
        features.GROUP: _bytes(fact.group.encode()),
        features.BRIGHTNESS: tf.train.Feature(
            float_list=tf.train.FloatList(value=[fact.brightness])
        ),
        features.WIDTH: _integer(width),
        features.HEIGHT: _integer(height),
    }
    return tf.train.Example(features=tf.train.Features(feature=values))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
