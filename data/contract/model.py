"""The model as those see it who push it, check it and ask it."""

import json

MODEL_NAME = "dog_emotion"
"""The model in TF Serving's terms: versions are pushed to `<run>/serving/dog_emotion/<version>`."""

PHOTO_INPUT = "image_bytes"
PROBABILITIES, BEST_LABEL, CLASS_LABELS = PHOTO_OUTPUTS = ("probabilities", "label", "labels")
"""Of the signature that a request without a name asks for."""

EVALUATION_SIGNATURE = "serving_examples"
TRANSFORM_SIGNATURE = "transform_features"
"""What TFMA asks: tf.train.Examples to probabilities, and to their labels' ids."""


def push_destination(base: str) -> str:
    """The JSON of TFX's PushDestination for a folder of versions, local or remote."""
    return json.dumps({"filesystem": {"baseDirectory": base}})


def base_directory(destination: str) -> str:
    """The folder of versions that the JSON of a PushDestination names."""
    filesystem = json.loads(destination)["filesystem"]
    # Both forms are protobuf's JSON: TFX writes the names of the fields.
    return str(filesystem.get("baseDirectory") or filesystem["base_directory"]).rstrip("/")
