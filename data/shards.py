"""The two Beam passes: prepare every photo once, then write the chosen ones as TFRecord shards.

A photo that an earlier span holds is taken from its record. Only small facts about each photo pass
between the two. The JPEG bytes wait on disk, one file per photo: a shuffle of Beam's in-process
runner keeps what passes through it in memory.
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
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from data.audit import Fact
from data.contract import features
from data.contract.beam import StepCounter, step_errors_raised
from data.contract.images import bounded_size
from data.contract.progress import Tell
from data.errors import DataError, MemoryShortageError
from data.folder import LabelledPhoto
from data.held_photos import HeldPhotos
from data.perceptual_hash import BYTES, HASHES, Hashes, hash_changes
from data.photos import decode_photo, prepare_photo, read_photo
from data.records import read_shard

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
    held: HeldPhotos,
    folder: Path,
    tell: Tell,
    beam_options: Sequence[str],
) -> tuple[list[Fact], Hashes]:
    """Prepare every photo into `folder`.

    Args:
        photos: of the source.
        held: those of them that are taken from earlier spans.
        folder: where they go; it is empty.
        tell: is told how many of the others are prepared.
        beam_options: of a runner whose workers see the photos and the folder.

    Returns:
        What was found, and the perceptual hashes uint8 [N, HASHES, 32] (zeros for a photo that is
        rejected), both in the order of the photos.
    """
    places = [place for place, photo in enumerate(photos) if photo not in held.photos]
    _counter.start(len(places), tell)
    folder = folder.absolute()
    prepared, taken = folder / "prepared", folder / "taken"
    with _run_beam(beam_options) as pipeline:
        _ = (
            pipeline
            | "photos"
            >> beam.Create(
                [(place, _found_anywhere(photos[place]), str(folder)) for place in places]
            )
            | "spread photos" >> beam.Reshuffle()
            | beam.MapTuple(_prepare)
            | "write prepared" >> beam.io.WriteToText(str(prepared))
        )
        _ = (
            pipeline
            | "shards"
            >> beam.Create([(str(Path(shard).absolute()), str(folder)) for shard in held.shards])
            | "spread shards" >> beam.Reshuffle()
            | beam.FlatMapTuple(_take)
            | "write taken" >> beam.io.WriteToText(str(taken))
        )
    facts: list[Fact | None] = [None] * len(photos)
    hashes = np.zeros((len(photos), HASHES, BYTES), np.uint8)
    for place, fact, found in _read_lines(prepared):
        facts[place] = Fact(**fact)
        if found:
            hashes[place] = np.frombuffer(bytes.fromhex(found), np.uint8).reshape(HASHES, BYTES)
    figures = dict(_read_lines(taken))
    for place, photo in enumerate(photos):
        if each := held.photos.get(photo):
            jpeg = _jpeg_file(folder, each.sha256)
            facts[place] = Fact(
                photo.name, photo.label, jpeg, each.sha256, each.pixels, **figures[each.sha256]
            )
            hashes[place] = each.hashes
    return [fact for fact in facts if fact], hashes


def write_shards(shards: Sequence[Shard], beam_options: Sequence[str]) -> None:
    """Write the shards from their prepared photos."""
    found = [dataclasses.replace(each, path=str(Path(each.path).absolute())) for each in shards]
    with _run_beam(beam_options) as pipeline:
        _ = pipeline | beam.Create(found) | beam.Reshuffle() | beam.Map(_write)


def _found_anywhere(photo: LabelledPhoto) -> LabelledPhoto:
    """The same, for a worker whose working folder is another."""
    return dataclasses.replace(photo, path=photo.path.absolute())


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


def _jpeg_file(folder: str | Path, sha256: str) -> str:
    """Where a prepared photo waits, given the hash of its file; equal files are prepared alike."""
    return f"{folder}/{sha256}.jpg"


def _prepare(place: int, photo: LabelledPhoto, folder: str) -> str:
    """A line of JSON: the photo's place, what was found out about it, and its perceptual hashes,
    hexadecimal."""
    fact, hashes = Fact(photo.name, photo.label, jpeg=""), ""
    try:
        content = read_photo(photo.path)
        fact = dataclasses.replace(fact, sha256=hashlib.sha256(content).hexdigest())
        prepared = prepare_photo(content)
    except MemoryShortageError as error:
        fact = dataclasses.replace(fact, sha256="", reason=str(error))
    except DataError as error:
        fact = dataclasses.replace(fact, reason=str(error))
    else:
        jpeg = _jpeg_file(folder, fact.sha256)
        Path(jpeg).write_bytes(prepared.jpeg)
        fact = dataclasses.replace(
            fact,
            jpeg=jpeg,
            pixels=prepared.pixel_sha256,
            width=prepared.width,
            height=prepared.height,
            brightness=prepared.brightness,
        )
        hashes = hash_changes(decode_photo(prepared.jpeg)).tobytes().hex()
    _counter.add()
    return json.dumps([place, dataclasses.asdict(fact), hashes])


def _take(shard: str, folder: str) -> Iterator[str]:
    """Lines of JSON: of every photo in a shard the hash of its file, and the figures about it."""
    for example in read_shard(shard):
        values = example.features.feature
        sha256 = values[features.SHA256].bytes_list.value[0].decode()
        Path(_jpeg_file(folder, sha256)).write_bytes(values[features.IMAGE].bytes_list.value[0])
        figures = {
            "width": values[features.WIDTH].int64_list.value[0],
            "height": values[features.HEIGHT].int64_list.value[0],
            "brightness": values[features.BRIGHTNESS].float_list.value[0],
        }
        yield json.dumps([sha256, figures])


def _read_lines(text: Path) -> Iterator[Any]:
    for file in text.parent.glob(f"{text.name}-*"):
        with file.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


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
