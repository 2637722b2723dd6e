"""Models are asked about photos, once."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf

from components.evaluation.table import Answer, Answers, Photo
from data.contract import features
from data.contract.model import CERTAIN, DOG, EVALUATION_SIGNATURE, EVIDENCE, PROBABILITIES

_BATCH = 32


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
