"""The model as seen by those who push it, check it and ask it."""

import json

MODEL_NAME = "dog_emotion"
"""The model in TF Serving's terms: versions are pushed to `<run>/serving/dog_emotion/<version>`."""

PHOTO_INPUT = "image_bytes"
PROBABILITIES, BEST_LABEL, CLASS_LABELS = PHOTO_OUTPUTS = ("probabilities", "label", "labels")
"""The input and outputs of the signature that a request asks for if it names none."""

CERTAIN = "certain"
"""A further output, bool [N]: whether such answers were shown to be right as often as was asked."""
DOG = "dog"
"""A further output, float32 [N] in [0, 1]: how sure it is that the photo shows a dog at all. Models
for which no such score can be had are without it."""
SUBJECT_THRESHOLD = 0.5
"""With a lower `DOG`, there is none: exports scale the score so."""

EXPLAIN_SIGNATURE = "explain"
EVIDENCE = "map"
"""Its further output, float32 [N, height, width]: what each part of the photo contributes to the
logit of the predicted class, which is the mean of it all and the class's bias."""

ANSWERS = "assets.extra/answers.json"
"""In a version's folder: how the exported model's answers were calibrated, and by what it says that
it is certain, or that there is no dog."""

TEST_FIGURES = "assets.extra/test.json"
"""In a pushed version's folder: a JSON object with its `ACCURACY` on the test photos, when last
measured."""
ACCURACY = "accuracy"
"""As the properties of an evaluation and a blessing name it, too."""

EVALUATION_SIGNATURE = "serving_examples"
TRANSFORM_SIGNATURE = "transform_features"
"""tf.train.Examples to all that is said of a photo, which the Evaluator asks for, and to the ids of
their labels, for whoever evaluates an export by other means."""


def push_destination(base: str) -> str:
    """The JSON of TFX's PushDestination for a folder of versions, local or remote."""
    return json.dumps({"filesystem": {"baseDirectory": base}})


def base_directory(destination: str) -> str:
    """The folder of versions that the JSON of a PushDestination names."""
    filesystem = json.loads(destination)["filesystem"]
    # Both forms are protobuf's JSON: TFX writes the names of the fields.
    return str(filesystem.get("baseDirectory") or filesystem["base_directory"]).rstrip("/")
