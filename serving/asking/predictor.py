"""Asks a model what a dog feels; needs TensorFlow and nothing else."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.contract.model import (
    BEST_LABEL,
    CERTAIN,
    DOG,
    EVIDENCE,
    EXPLAIN_SIGNATURE,
    PHOTO_INPUT,
    PHOTO_OUTPUTS,
)
from data.contract.servable import DEFAULT_SIGNATURE
from serving.asking.errors import ModelError
from serving.asking.prediction import Evidence, Prediction
from serving.asking.pushed import find_version
from serving.quiet_tensorflow import import_tensorflow

BATCH = 32
"""Photos asked about at once: this bounds the memory, and 32 keep two cores busy."""


class Predictor:
    """A loaded model: JPEG bytes in, predictions out.

    A SavedModel is a program: load only one you would also run.

    Args:
        model_dir: a version or a folder of versions (see `find_version`).

    Raises:
        ModelError: no model there, a damaged one, or one that does not take photos the way
            ours do: `serving_default(image_bytes: string[N])` giving `probabilities`
            float32[N, classes], `label` string[N] and `labels` string[N, classes].
    """

    def __init__(self, model_dir: Path) -> None:
        self.version = find_version(model_dir)
        self._tf = import_tensorflow()
        try:
            # The signature does not keep the model's variables alive: hold the model too.
            self._model = self._tf.saved_model.load(str(self.version))
        # What a damaged file raises depends on where the damage is, and spans unrelated types.
        except Exception as error:
            raise ModelError(
                f"{self.version} cannot be loaded ({_first_line(error)}): "
                "copy it again, or make a new model with `dog-emotion run`"
            ) from error
        self._ask = self._photo_signature()

    def predict(self, jpegs: Sequence[bytes]) -> list[Prediction]:
        """Predictions for upright RGB JPEGs, in their order.

        Raises:
            ModelError: the model cannot read a photo, or its probabilities are not numbers.
        """
        predictions: list[Prediction] = []
        for answer in self._answers(self._ask, jpegs):
            probabilities, label, labels = (answer[name] for name in PHOTO_OUTPUTS)
            certain, dog = (
                answer[name].tolist() if name in answer else [None] * len(label)
                for name in (CERTAIN, DOG)
            )
            predictions += [
                Prediction(winner.decode(), _by_name(names, values), *further)
                for winner, names, values, *further in zip(
                    label, labels, probabilities, certain, dog, strict=True
                )
            ]
        return predictions

    def explain(self, jpegs: Sequence[bytes]) -> list[Evidence] | None:
        """What speaks for the class of each of such JPEGs; None if the model does not tell.

        Raises:
            ModelError: the model cannot read a photo, or its evidence is not numbers.
        """
        signatures = self._model.signatures
        if EXPLAIN_SIGNATURE not in signatures:
            return None
        return [
            Evidence(label.decode(), evidence)
            for answer in self._answers(signatures[EXPLAIN_SIGNATURE], jpegs)
            for label, evidence in zip(answer[BEST_LABEL], answer[EVIDENCE], strict=True)
        ]

    def _answers(self, ask: Any, jpegs: Sequence[bytes]) -> Iterator[dict[str, Any]]:
        """The outputs of a signature as arrays, for one batch of photos after the other."""
        tf = self._tf
        for start in range(0, len(jpegs), BATCH):
            photos = tf.constant(list(jpegs[start : start + BATCH]), tf.string)
            try:
                answer = ask(**{PHOTO_INPUT: photos})
            except tf.errors.OpError as error:
                raise ModelError(
                    f"{self.version} cannot answer ({_first_line(error)}): send photos as JPEG"
                ) from error
            arrays = {name: tensor.numpy() for name, tensor in answer.items()}
            if not all(
                np.isfinite(each).all() for each in arrays.values() if each.dtype.kind == "f"
            ):
                raise ModelError(
                    f"{self.version} answers with values that are not numbers: train a new model "
                    "with `dog-emotion run`"
                )
            yield arrays

    def _photo_signature(self) -> Any:
        signatures = self._model.signatures
        if DEFAULT_SIGNATURE not in signatures:
            found = ", ".join(sorted(signatures)) or "none"
            raise self._unsuitable(f"it has no signature {DEFAULT_SIGNATURE}; found: {found}")
        signature = signatures[DEFAULT_SIGNATURE]
        inputs = {
            name: (spec.dtype.name, spec.shape.rank)
            for name, spec in signature.structured_input_signature[1].items()
        }
        if inputs != {PHOTO_INPUT: ("string", 1)}:
            raise self._unsuitable(
                f"{DEFAULT_SIGNATURE} should take {PHOTO_INPUT} string[N]; "
                f"found: {_described(inputs)}"
            )
        missing = [name for name in PHOTO_OUTPUTS if name not in signature.structured_outputs]
        if missing:
            found = ", ".join(sorted(signature.structured_outputs)) or "nothing"
            raise self._unsuitable(
                f"{DEFAULT_SIGNATURE} does not give {', '.join(missing)}; found: {found}"
            )
        return signature

    def _unsuitable(self, reason: str) -> ModelError:
        return ModelError(
            f"{self.version} is not a dog-emotion model: {reason} (`dog-emotion run` makes one)"
        )


def _by_name(names: Sequence[bytes], values: Sequence[Any]) -> dict[str, float]:
    return {name.decode(): float(value) for name, value in zip(names, values, strict=True)}


def _described(inputs: dict[str, tuple[str, int | None]]) -> str:
    return ", ".join(f"{name} {dtype} of rank {rank}" for name, (dtype, rank) in inputs.items())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
