"""The SavedModel: signatures that need no Python of ours."""

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_serving.apis import prediction_log_pb2

from components.model.answers import Answers
from components.model.folded import FoldedClassifier
from components.model.subject import Subject
from data.contract import features
from data.contract.images import IMAGE_SIDE, MAX_REQUEST_PIXELS
from data.contract.model import (
    ANSWERS,
    BEST_LABEL,
    CERTAIN,
    CLASS_LABELS,
    DOG,
    EVALUATION_SIGNATURE,
    EVIDENCE,
    EXPLAIN_SIGNATURE,
    PHOTO_INPUT,
    PROBABILITIES,
    TRANSFORM_SIGNATURE,
)
from data.contract.servable import DEFAULT_SIGNATURE, WARM_UP

WARM_UP_BATCHES = (1, 2)
"""Photos in each request: two sizes, so that what TensorFlow prepares for a second is done too."""

_PNG_SIZE_END = 24
"""Where the width and height of a PNG end, four bytes each."""


class _Seen(NamedTuple):
    """What one classifier makes of photos.

    Attributes:
        boundary: float32 [N, height, width, channels], of the freeze boundary.
        top: the top features, float32 [N, height, width, features].
        pooled: their mean, float32 [N, features].
    """

    boundary: tf.Tensor
    top: tf.Tensor
    pooled: tf.Tensor


class _Member(tf.Module):
    """One classifier, whose kernel and bias are divided so that the logits of all need only be
    added."""

    def __init__(self, model: FoldedClassifier, divisor: float) -> None:
        super().__init__()
        self._kernel = tf.Variable(model.kernel / divisor, name="kernel")
        self._bias = tf.Variable(model.bias / divisor, name="bias")
        self._trunk, self._tail, self._pretrained_tail = (
            partial(part, training=False)
            for part in (model.trunk, model.tail, model.pretrained_tail)
        )
        self._tail_is_pretrained = model.tail is model.pretrained_tail

    def see(self, images: tf.Tensor) -> _Seen:
        """Photos, float32 [N, 224, 224, 3] in [0, 255], to features."""
        boundary = self._trunk(images)
        top = self._tail(boundary)
        return _Seen(boundary, top, tf.reduce_mean(top, axis=[1, 2]))

    def logits(self, seen: _Seen) -> tf.Tensor:
        """What is added to the logits, float32 [N, classes]."""
        return tf.matmul(seen.pooled, self._kernel) + self._bias

    def evidence(self, seen: _Seen, classes: tf.Tensor) -> tf.Tensor:
        """What is added to the map for one class of each photo, float32 [N, height, width].

        Args:
            seen: of the photos.
            classes: class ids [N].
        """
        weights = tf.gather(self._kernel, classes, axis=1)
        return tf.einsum("nhwf,fn->nhw", seen.top, weights)

    def pretrained(self, seen: _Seen) -> tf.Tensor:
        """The pooled features by the backbone as it was before training, float32 [N, features]."""
        if self._tail_is_pretrained:
            return seen.pooled
        return tf.reduce_mean(self._pretrained_tail(seen.boundary), axis=[1, 2])


class ServingModule(tf.Module):
    """Keras 3 classifiers, whose mean logits count, and the Transform graph in one exported object.

    `TransformFeaturesLayer` is a Keras 2 layer, which a Keras 3 model cannot hold. The models in
    turn are not tracked, but the variables that they read are: Keras saves copies of a tracked
    model's, and TF Serving would restore the copies and find those of the graph uninitialized.
    """

    def __init__(
        self,
        members: Sequence[FoldedClassifier],
        answers: Answers,
        transform: tft.TFTransformOutput,
        classes: Sequence[str],
    ) -> None:
        super().__init__()
        divisor = answers.temperature * len(members)
        self._members = [_Member(member, divisor) for member in members]
        threshold = answers.certain.threshold
        self._certain_from = math.inf if threshold is None else threshold
        self._subject = answers.subject if isinstance(answers.subject, Subject) else None
        self._layer = transform.transform_features_layer()
        self._spec = transform.raw_feature_spec()
        self._classes = list(classes)
        self._variables = self._answer.get_concrete_function().graph.variables

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def _answer(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded photos, string [N], to all that is said about them; one graph for all.

        The map is exact because nothing but means lie between the top features and the logits:
        https://arxiv.org/abs/1512.04150, section 2.
        """
        images = self._layer({features.IMAGE: encoded})[features.IMAGE_XF]
        seen = [member.see(images) for member in self._members]
        pairs = list(zip(self._members, seen, strict=True))
        probabilities = tf.nn.softmax(tf.add_n([member.logits(each) for member, each in pairs]))
        best = tf.argmax(probabilities, axis=1)
        answer = {
            PROBABILITIES: probabilities,
            BEST_LABEL: tf.gather(tf.constant(self._classes), best),
            CERTAIN: tf.reduce_max(probabilities, axis=1) >= self._certain_from,
            EVIDENCE: tf.add_n([member.evidence(each, best) for member, each in pairs]),
        }
        if self._subject:
            answer[DOG] = self._subject.score(self._members[0].pretrained(seen[0]))
        return answer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=PHOTO_INPUT)])
    def serving_default(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Upright photos as JPEG or PNG bytes, string [N], to what a client wants to know.

        Returns:
            `probabilities` float32 [N, classes], `label` string [N], the likeliest class, `labels`
            string [N, classes], the names in the order of the probabilities, `certain` bool [N]
            and, where a photo's subject can be told, `dog` float32 [N].
        """
        answer = dict(self._answer(tf.map_fn(refuse_bombs, image_bytes)))
        del answer[EVIDENCE]
        photos = tf.shape(image_bytes)[0]
        return {**answer, CLASS_LABELS: tf.tile(tf.constant([self._classes]), [photos, 1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=PHOTO_INPUT)])
    def explain(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Upright photos as JPEG or PNG bytes, string [N], to the reason for the answer.

        Returns:
            `probabilities` and `label` as before, and `map` float32 [N, height, width]: what each
            part of the photo contributes to the logit of that label. The logit is the mean of the
            map and the label's bias.
        """
        answer = self._answer(tf.map_fn(refuse_bombs, image_bytes))
        return {name: answer[name] for name in (PROBABILITIES, BEST_LABEL, EVIDENCE)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.train.Example, string [N], to all that can be measured of the answers.

        Returns:
            `probabilities`, `certain`, `map` and, where a photo's subject can be told, `dog`.
        """
        spec = {features.IMAGE: self._spec[features.IMAGE]}
        answer = dict(self._answer(tf.io.parse_example(examples, spec)[features.IMAGE]))
        del answer[BEST_LABEL]
        return answer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_features(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.train.Example, string [N], to `label_xf` int64 [N].

        The pixels are left out: they are 600 KB per photo, and an evaluation has no use for them.
        """
        transformed = self._layer(tf.io.parse_example(examples, self._spec))
        return {features.LABEL_XF: transformed[features.LABEL_XF]}


def refuse_bombs(encoded: tf.Tensor) -> tf.Tensor:
    """Passes on a photo whose header is that of a JPEG or PNG of at most `MAX_REQUEST_PIXELS`.

    A file of a few kilobytes can claim gigabytes of pixels; only the header is read here.

    Args:
        encoded: string scalar.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: when the graph runs, if it is of another kind or has more pixels.
    """
    is_jpeg = tf.strings.substr(encoded, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(encoded, 0, 8) == b"\x89PNG\r\n\x1a\n"
    is_png &= tf.strings.length(encoded) >= _PNG_SIZE_END
    known = tf.debugging.Assert(is_jpeg | is_png, ["a photo should be JPEG or PNG"])
    with tf.control_dependencies([known]):
        size = tf.cond(
            is_jpeg,
            lambda: tf.io.extract_jpeg_shape(encoded, output_type=tf.int64)[:2],
            lambda: _png_size(encoded),
        )
    pixels = tf.reduce_prod(
        tf.minimum(size, MAX_REQUEST_PIXELS + 1)
    )  # 32 bits by 32 would overflow
    small = tf.debugging.Assert(
        pixels <= MAX_REQUEST_PIXELS,
        [f"a photo should have at most {MAX_REQUEST_PIXELS} pixels; found", size],
    )
    with tf.control_dependencies([small]):
        return tf.identity(encoded)


def _png_size(encoded: tf.Tensor) -> tf.Tensor:
    """Width and height, int64 [2], from the first chunk, where the format puts them."""
    header = tf.io.decode_raw(tf.strings.substr(encoded, _PNG_SIZE_END - 8, 8), tf.uint8)
    digits = tf.reshape(tf.cast(header, tf.int64), [2, 4])  # in base 256
    return tf.reduce_sum(digits * [1 << 24, 1 << 16, 1 << 8, 1], axis=1)


def export(
    members: Sequence[FoldedClassifier],
    answers: Answers,
    transform: tft.TFTransformOutput,
    classes: Sequence[str],
    folder: Path,
) -> None:
    """Writes the SavedModel, complete or not at all.

    Args:
        members: the classifier, or those of an ensemble, whose mean logits count.
        answers: what it says beyond its probabilities.
        transform: the Transform graph the model was trained behind.
        classes: class names in the order of the probabilities.
        folder: where to write it; must not exist.
    """
    module = ServingModule(members, answers, transform, classes)
    unfinished = folder.with_name(folder.name + ".tmp")
    tf.saved_model.save(
        module,
        str(unfinished),
        signatures={
            DEFAULT_SIGNATURE: module.serving_default,
            EXPLAIN_SIGNATURE: module.explain,
            EVALUATION_SIGNATURE: module.serving_examples,
            TRANSFORM_SIGNATURE: module.transform_features,
        },
    )
    (unfinished / WARM_UP).parent.mkdir()
    _write_warm_up(unfinished / WARM_UP)
    (unfinished / ANSWERS).write_text(json.dumps(answers.as_json(), indent=2) + "\n")
    unfinished.rename(folder)


def _write_warm_up(file: Path) -> None:
    """Requests of the default signature with grey photos, as records of PredictionLog."""
    photo = tf.io.encode_jpeg(tf.fill([IMAGE_SIDE, IMAGE_SIDE, 3], tf.constant(127, tf.uint8)))
    with tf.io.TFRecordWriter(str(file)) as writer:
        for photos in WARM_UP_BATCHES:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = DEFAULT_SIGNATURE
            request.inputs[PHOTO_INPUT].CopyFrom(tf.make_tensor_proto([photo.numpy()] * photos))
            writer.write(log.SerializeToString())
