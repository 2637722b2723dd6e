import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from serving.asking.errors import ModelError
from serving.asking.predictor import BATCH, Predictor
from tests.serving.asking.photo_model import write_explaining_model

CLASSES = [b"angry", b"happy", b"sad"]


def jpeg(blue: int, green: int, red: int) -> bytes:
    photo = np.full((20, 30, 3), (blue, green, red), np.uint8)
    return cv2.imencode(".jpg", photo)[1].tobytes()


def photos(count: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [jpeg(*rng.integers(0, 256, 3).tolist()) for _ in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with our signature: the more red, green or blue, the angrier, happier, sadder."""
    import tensorflow as tf

    class Colours(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sharpness = tf.Variable(5.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serve(self, image_bytes: Any) -> dict[str, Any]:
            colours = tf.map_fn(self.colour, image_bytes, fn_output_signature=tf.float32)
            probabilities = tf.nn.softmax(self.sharpness * colours)
            names = tf.constant(CLASSES)
            return {
                "probabilities": probabilities,
                "label": tf.gather(names, tf.argmax(probabilities, axis=1)),
                "labels": tf.broadcast_to(names, tf.shape(probabilities)),
            }

        def colour(self, image: Any) -> Any:
            pixels = tf.io.decode_jpeg(image, channels=3)
            return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[0, 1]) / 255.0

    folder = tmp_path_factory.mktemp("model") / "dog_emotion"
    module = Colours()
    tf.saved_model.save(module, str(folder / "7"), signatures={"serving_default": module.serve})
    return folder


@pytest.fixture(scope="module")
def loaded(model: Path) -> Predictor:
    return Predictor(model)


def save(folder: Path, signatures: dict[str, Any]) -> Path:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(folder), signatures=signatures)
    return folder


def test_predictions_are_what_the_signature_answers(model: Path, loaded: Predictor) -> None:
    import tensorflow as tf

    asked = photos(2 * BATCH + 3)
    direct = tf.saved_model.load(str(model / "7")).signatures["serving_default"](
        image_bytes=tf.constant(asked)
    )
    predictions = loaded.predict(asked)
    assert [prediction.label.encode() for prediction in predictions] == list(
        direct["label"].numpy()
    )
    assert all(list(p.probabilities) == ["angry", "happy", "sad"] for p in predictions)
    np.testing.assert_allclose(
        [list(prediction.probabilities.values()) for prediction in predictions],
        direct["probabilities"].numpy(),
        rtol=1e-6,
    )


def test_labels_follow_the_photos(loaded: Predictor) -> None:
    blue, green, red = jpeg(255, 0, 0), jpeg(0, 255, 0), jpeg(0, 0, 255)
    labels = [prediction.label for prediction in loaded.predict([red, green, blue])]
    assert labels == ["angry", "happy", "sad"]
    assert loaded.predict([]) == []


def test_the_model_is_asked_in_bounded_batches(
    loaded: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    ask = loaded._ask

    def counting(image_bytes: Any) -> Any:
        sizes.append(len(image_bytes))
        return ask(image_bytes=image_bytes)

    monkeypatch.setattr(loaded, "_ask", counting)
    loaded.predict(photos(BATCH + 1))
    assert sizes == [BATCH, 1]


def test_bytes_that_are_not_a_photo_give_one_line(loaded: Predictor) -> None:
    with pytest.raises(ModelError, match="send photos as JPEG") as caught:
        loaded.predict([*photos(1), b"no photo"])
    assert "\n" not in str(caught.value)


def test_a_model_without_our_signature_says_what_it_has(tmp_path: Path) -> None:
    import tensorflow as tf

    pixels = tf.TensorSpec([None, 8], tf.float32, name="pixels")
    double = tf.function(lambda pixels: {"twice": 2 * pixels}, input_signature=[pixels])
    with pytest.raises(ModelError, match="no signature serving_default; found: doubling"):
        Predictor(save(tmp_path / "1", {"doubling": double}))
    with pytest.raises(ModelError, match=r"should take image_bytes string\[N\]; found: pixels flo"):
        Predictor(save(tmp_path / "2", {"serving_default": double}))

    image_bytes = tf.TensorSpec([None], tf.string, name="image_bytes")
    echo = tf.function(lambda image_bytes: {"label": image_bytes}, input_signature=[image_bytes])
    with pytest.raises(ModelError, match="does not give probabilities, labels; found: label"):
        Predictor(save(tmp_path / "3", {"serving_default": echo}))


def test_a_model_that_answers_nan_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    def lost(image_bytes: Any) -> dict[str, Any]:
        probabilities = tf.fill([tf.size(image_bytes), 2], float("nan"))
        return {
            "probabilities": probabilities,
            "label": image_bytes,
            "labels": tf.fill(tf.shape(probabilities), "happy"),
        }

    image_bytes = tf.TensorSpec([None], tf.string, name="image_bytes")
    version = save(
        tmp_path / "1", {"serving_default": tf.function(lost, input_signature=[image_bytes])}
    )
    with pytest.raises(ModelError, match="not numbers"):
        Predictor(version).predict(photos(1))


def test_what_a_model_says_beyond_its_answer_is_passed_on(
    tmp_path: Path, loaded: Predictor
) -> None:
    write_explaining_model(tmp_path / "1")
    predictor = Predictor(tmp_path)
    bright, dark, blue = (jpeg(0, 200, 200), jpeg(20, 30, 30), jpeg(250, 30, 40))
    predictions = predictor.predict([bright, dark, blue] * BATCH)
    assert len(predictions) == 3 * BATCH
    assert [each.answer for each in predictions[-3:]] == [
        predictions[0].label,
        "not sure",
        "no dog here",
    ]
    evidence = predictor.explain([bright, dark] * BATCH)
    assert evidence is not None
    assert len(evidence) == 2 * BATCH
    assert [each.label for each in evidence[-2:]] == [each.label for each in predictions[:2]]
    assert evidence[-2].map.shape == (7, 7)
    np.testing.assert_allclose(evidence[-2].map, 200 - 60, atol=3)
    plain = loaded.predict([dark])[0]
    assert (plain.certain, plain.dog, plain.answer) == (None, None, plain.label)
    assert loaded.explain([dark]) is None


@pytest.mark.parametrize(
    "damaged", ["saved_model.pb", "variables/variables.index", "variables/variables.data-*"]
)
@pytest.mark.parametrize("content", [b"", b"\xff damaged \x00" * 9])
def test_a_damaged_model_is_one_line(
    model: Path, tmp_path: Path, damaged: str, content: bytes
) -> None:
    version = shutil.copytree(model / "7", tmp_path / "7")
    [file] = version.glob(damaged)
    file.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Predictor(version)
    message = str(caught.value)
    assert message.startswith(str(version))
    assert "\n" not in message


def test_the_module_is_light_and_tensorflow_comes_silently(model: Path) -> None:
    """A process of its own: this one has TensorFlow already."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from serving.asking.predictor import Predictor\n"
        "assert 'tensorflow' not in sys.modules\n"
        f"Predictor(Path({str(model)!r}))\n"
        "assert not {'tfx', 'tensorflow_transform', 'components'} & set(sys.modules)\n"
        "print('heard', file=sys.stderr)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[3],
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "heard" in done.stderr
    assert not re.search(r"^(WARNING|[IWEF]\d{4} )", done.stderr, re.MULTILINE), done.stderr


def test_the_log_level_of_the_user_is_kept(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    Predictor(model)
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"
