"""What models say about photos: asked once, and kept as files."""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.errors import ComponentError
from data.contract import features
from data.contract.model import CERTAIN, DOG, EVALUATION_SIGNATURE, EVIDENCE, PROBABILITIES

PREDICTIONS, MAPS = "predictions.csv", "maps.npy"

_BATCH = 32


@dataclass(frozen=True)
class Photo:
    """A test photo's record, without the pixels."""

    filename: str
    sha256: str
    """Of the photo's file."""
    image: str
    """SHA-256 of the JPEG in the record: all that a model sees."""
    label: str
    brightness: float
    width: int
    height: int


@dataclass(frozen=True)
class Answer:
    """What a model says about a photo; models of earlier versions of this code say less."""

    probabilities: NDArray[np.float32]
    certain: bool | None = None
    dog: float | None = None
    map: NDArray[np.float16] | None = None


Answers = dict[str, Answer]
"""By the photo's `image`."""


def ask(
    pipeline: beam.Pipeline,
    records: Sequence[str],
    models: Mapping[str, str],
    known: Mapping[str, Answers],
    folder: str,
) -> None:
    """Adds to a Beam pipeline: what models say about the photos in some files.

    Args:
        pipeline: is run by the caller.
        records: patterns of TFRecord files.
        models: folder of the SavedModel of each, by name.
        known: answers that each model need not be asked for again.
        folder: where the answers go, local or remote; `read_answers` reads them.
    """
    (
        pipeline
        | beam.Create(list(records))
        | beam.io.ReadAllFromTFRecord()
        | beam.Reshuffle()
        | beam.BatchElements(min_batch_size=_BATCH, max_batch_size=_BATCH)
        | beam.ParDo(_Ask(dict(models), {name: frozenset(each) for name, each in known.items()}))
        | beam.io.WriteToText(f"{folder}/part")
    )


def read_answers(
    folder: str, known: Mapping[str, Answers]
) -> tuple[list[Photo], dict[str, list[Answer]]]:
    """The photos in the order of their names, and what each model says about each of them.

    Args:
        folder: what `ask` wrote.
        known: what it was given.
    """
    lines = []
    for file in tf.io.gfile.glob(f"{folder}/part*"):
        with tf.io.gfile.GFile(file) as stream:
            lines += [json.loads(line) for line in stream]
    rows = sorted(
        ((Photo(**line["photo"]), line["answers"]) for line in lines),
        key=lambda row: (row[0].filename, row[0].sha256),
    )
    answers = {
        name: [
            _decode(said[name]) if name in said else earlier[photo.image] for photo, said in rows
        ]
        for name, earlier in known.items()
    }
    return [photo for photo, _ in rows], answers


class _Ask(beam.DoFn):
    """Batches of records to JSON lines."""

    def __init__(self, models: dict[str, str], known: dict[str, frozenset[str]]) -> None:
        self._models = models
        self._known = known

    def setup(self) -> None:
        self._loaded: dict[str, Any] = {}

    def process(self, batch: Sequence[bytes]) -> Iterator[str]:
        photos = [_describe(record) for record in batch]
        answers: list[dict[str, Any]] = [{} for _ in batch]
        for name in self._models:
            missing = [i for i, p in enumerate(photos) if p.image not in self._known[name]]
            if missing:
                said = self._signature(name)(examples=tf.constant([batch[i] for i in missing]))
                for index, answer in zip(missing, _rows(said), strict=True):
                    answers[index][name] = answer
        for photo, said in zip(photos, answers, strict=True):
            yield json.dumps({"photo": vars(photo), "answers": said})

    def _signature(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = tf.saved_model.load(self._models[name])
        return self._loaded[name].signatures[EVALUATION_SIGNATURE]


def _describe(record: bytes) -> Photo:
    found = tf.train.Example.FromString(record).features.feature
    text = {
        key: found[key].bytes_list.value[0]
        for key in (features.IMAGE, features.FILENAME, features.LABEL, features.SHA256)
    }
    return Photo(
        filename=text[features.FILENAME].decode(),
        sha256=text[features.SHA256].decode(),
        image=hashlib.sha256(text[features.IMAGE]).hexdigest(),
        label=text[features.LABEL].decode(),
        brightness=found[features.BRIGHTNESS].float_list.value[0],
        width=found[features.WIDTH].int64_list.value[0],
        height=found[features.HEIGHT].int64_list.value[0],
    )


def _rows(said: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A batch of answers, one by one, as JSON values."""
    known = (PROBABILITIES, CERTAIN, DOG, EVIDENCE)
    columns = {key: value.numpy() for key, value in said.items() if key in known}
    for index in range(len(columns[PROBABILITIES])):
        row = {key: column[index].tolist() for key, column in columns.items() if key != EVIDENCE}
        if EVIDENCE in columns:
            evidence = columns[EVIDENCE][index].astype(np.float16)
            row[EVIDENCE] = [evidence.shape, base64.b64encode(evidence.tobytes()).decode()]
        yield row


def _decode(said: Mapping[str, Any]) -> Answer:
    evidence = None
    if EVIDENCE in said:
        shape, content = said[EVIDENCE]
        evidence = np.frombuffer(base64.b64decode(content), np.float16).reshape(shape)
    probabilities = np.array(said[PROBABILITIES], np.float32)
    return Answer(probabilities, said.get(CERTAIN), said.get(DOG), evidence)


def write_predictions(
    folder: Path,
    classes: Sequence[str],
    photos: Sequence[Photo],
    answers: Mapping[str, Sequence[Answer]],
) -> None:
    """Writes one row for each photo, and the maps of the new model in the same order.

    Args:
        folder: is there.
        classes: names in the order of the probabilities.
        photos: in the order of their names.
        answers: of each model; the first one is the new one.
    """
    candidate, *others = answers
    with (folder / PREDICTIONS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                *("filename", "sha256", "label", "predicted", CERTAIN, DOG),
                *(f"p_{name}" for name in classes),
                *("brightness", "width", "height", "image_sha256"),
                *(f"{name}_predicted" for name in others),
            ]
        )
        for photo, answer, *rest in zip(photos, *answers.values(), strict=True):
            writer.writerow(
                [
                    *(photo.filename, photo.sha256, photo.label),
                    classes[answer.probabilities.argmax()],
                    "" if answer.certain is None else int(answer.certain),
                    "" if answer.dog is None else repr(answer.dog),
                    *map(str, answer.probabilities),
                    *(repr(photo.brightness), photo.width, photo.height, photo.image),
                    *(classes[each.probabilities.argmax()] for each in rest),
                ]
            )
    maps = [answer.map for answer in answers[candidate] if answer.map is not None]
    if maps:
        np.save(folder / MAPS, np.stack(maps))


def read_predictions(folder: str, classes: Sequence[str], photos: int) -> Answers:
    """What the new model of an earlier evaluation has said.

    Args:
        folder: of the evaluation, local or remote.
        classes: names in the order of the probabilities.
        photos: how many there should be.

    Raises:
        ComponentError: the files are damaged, or of other classes.
    """
    try:
        with tf.io.gfile.GFile(f"{folder}/{PREDICTIONS}") as file:
            rows = list(csv.DictReader(io.StringIO(file.read())))
        if len(rows) != photos:
            raise ValueError(f"it has {len(rows)} of {photos} rows")
        maps: Sequence[Any] = [None] * len(rows)
        if tf.io.gfile.exists(f"{folder}/{MAPS}"):
            with tf.io.gfile.GFile(f"{folder}/{MAPS}", "rb") as file:
                maps = np.load(io.BytesIO(file.read()))
        return {
            row["image_sha256"]: Answer(
                np.array([float(row[f"p_{name}"]) for name in classes], np.float32),
                None if row[CERTAIN] == "" else row[CERTAIN] == "1",
                None if row[DOG] == "" else float(row[DOG]),
                evidence,
            )
            for row, evidence in zip(rows, maps, strict=True)
        }
    except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError) as error:
        raise ComponentError(f"{folder}/{PREDICTIONS} is damaged: {error}") from error
