import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray
from scipy.special import softmax

from components.model.answers import Answers
from components.model.certainty import Certainty
from components.model.classifier import Classifier, build_classifier
from components.model.export import export
from components.model.folded import FoldedClassifier, fold_classifier
from components.model.freezing import boundary_layer_name
from components.model.subject import Subject, fit_subject
from components.model.weights import build_backbone
from components.training.photo_batches import labelled_images
from data.contract import features
from data.contract.model import ANSWERS
from data.drawn_dogs import draw_photo
from data.photos import decode_photo, prepare_photo
from pipeline.config import Config
from serving.checking.export_check import check_export

Signature = Callable[[tf.Tensor], dict[str, tf.Tensor]]


UNSURE = Answers(
    temperature=1.0,
    val_calibration_error=(0.2, 0.1),
    certain=Certainty(asked=0.8, threshold=None, val_coverage=0.0, val_accuracy=None),
    subject="nobody knows",
)
"""A model that says nothing beyond its probabilities."""


@pytest.fixture(scope="module")
def classifier(config: Config) -> Classifier:
    """As if it had been trained: its last layers are no longer those of the backbone."""
    keras.utils.set_random_seed(0)
    classifier = build_classifier(config.model, len(config.classes))
    changed = classifier.backbone.get_layer("block3_project_conv")
    changed.kernel.assign(-2 * changed.kernel)
    return classifier


@pytest.fixture(scope="module")
def pretrained(config: Config) -> keras.Model:
    return build_backbone(config.model.backbones[0], config.model.weights)[0]


@pytest.fixture(scope="module")
def features_before(
    pretrained: keras.Model, transform: Any, split_files: dict[str, str]
) -> dict[str, NDArray[np.float32]]:
    """The pooled features of each split's photos by the backbone as it was before training."""
    return {
        split: np.concatenate(
            [
                tf.reduce_mean(pretrained(images, training=False), axis=[1, 2])
                for images, _ in labelled_images(pattern, transform, batch_size=16)
            ]
        )
        for split, pattern in split_files.items()
    }


TEMPERATURE = 2.0


@pytest.fixture(scope="module")
def calibrated(
    classifier: Classifier, transform: Any, split_files: dict[str, str]
) -> NDArray[np.float32]:
    """The calibrated probabilities of the test photos, computed in training's way."""
    batches = labelled_images(split_files["test"], transform, batch_size=5)
    found = np.concatenate([classifier.model(images, training=False) for images, _ in batches])
    found = found ** (1 / TEMPERATURE)
    return found / found.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def answers(
    calibrated: NDArray[np.float32], features_before: dict[str, NDArray[np.float32]]
) -> Answers:
    """Half of the test photos are certain."""
    surest = np.sort(calibrated.max(axis=1))
    half = len(surest) // 2
    threshold = float(surest[half - 1 : half + 1].mean())
    return Answers(
        temperature=TEMPERATURE,
        val_calibration_error=(0.2, 0.1),
        certain=Certainty(asked=0.8, threshold=threshold, val_coverage=0.4, val_accuracy=0.9),
        subject=fit_subject(features_before["train"], features_before["val"]),
    )


@pytest.fixture(scope="module")
def exported(
    classifier: Classifier,
    pretrained: keras.Model,
    answers: Answers,
    transform_graph: Any,
    config: Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The classifier, moved from where it was exported, with all it was made from deleted."""
    folder = tmp_path_factory.mktemp("export")
    graph = shutil.copytree(transform_graph.uri, folder / "graph")
    boundary = boundary_layer_name(classifier.backbone, config.model.unfreeze_layers)
    model = fold_classifier(classifier, boundary, pretrained)
    transform = tft.TFTransformOutput(str(graph))
    export([model], answers, transform, config.classes, folder / "model")
    assert sorted(path.name for path in folder.iterdir()) == ["graph", "model"]
    shutil.rmtree(graph)
    return (folder / "model").rename(tmp_path_factory.mktemp("elsewhere") / "1")


@pytest.fixture(scope="module")
def loaded(exported: Path) -> Any:
    return tf.saved_model.load(str(exported))


def signature(loaded: Any, name: str) -> Signature:
    found: Signature = loaded.signatures[name]
    return found


def photos_of(examples: list[bytes]) -> list[bytes]:
    return [
        tf.train.Example.FromString(example).features.feature[features.IMAGE].bytes_list.value[0]
        for example in examples
    ]


def camera_photo(width: int, height: int, suffix: str) -> bytes:
    """A drawn dog at a camera's size."""
    dog = decode_photo(draw_photo("sad", np.random.default_rng(5)))
    large = cv2.resize(dog, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(suffix, large[..., ::-1])[1].tobytes()


def test_the_signatures_are_those_that_clients_and_evaluation_rely_on(loaded: Any) -> None:
    found = {
        name: (
            {key: (spec.shape.rank, spec.dtype) for key, spec in inputs.items()},
            {key: (spec.shape.rank, spec.dtype) for key, spec in each.structured_outputs.items()},
        )
        for name, each in loaded.signatures.items()
        for inputs in [each.structured_input_signature[1]]
    }
    assert found == {
        "serving_default": (
            {"image_bytes": (1, tf.string)},
            {
                "probabilities": (2, tf.float32),
                "label": (1, tf.string),
                "labels": (2, tf.string),
                "certain": (1, tf.bool),
                "dog": (1, tf.float32),
            },
        ),
        "explain": (
            {"image_bytes": (1, tf.string)},
            {"probabilities": (2, tf.float32), "label": (1, tf.string), "map": (3, tf.float32)},
        ),
        "serving_examples": (
            {"examples": (1, tf.string)},
            {
                "probabilities": (2, tf.float32),
                "certain": (1, tf.bool),
                "dog": (1, tf.float32),
                "map": (3, tf.float32),
            },
        ),
        "transform_features": ({"examples": (1, tf.string)}, {"label_xf": (1, tf.int64)}),
    }


def test_a_record_has_the_same_probabilities_in_training_evaluation_and_serving(
    calibrated: NDArray[np.float32],
    loaded: Any,
    transform: Any,
    split_files: dict[str, str],
    records: dict[str, list[bytes]],
) -> None:
    examples = records["test"]
    batches = list(labelled_images(split_files["test"], transform, batch_size=5))
    evaluation = signature(loaded, "serving_examples")(tf.constant(examples))
    serving = signature(loaded, "serving_default")(tf.constant(photos_of(examples)))
    assert np.ptp(calibrated, axis=0).min() > 0.01  # the photos can be told apart
    np.testing.assert_allclose(evaluation["probabilities"], calibrated, atol=1e-5)
    np.testing.assert_allclose(serving["probabilities"], calibrated, atol=1e-5)
    labels = signature(loaded, "transform_features")(tf.constant(examples))["label_xf"]
    np.testing.assert_array_equal(labels, np.concatenate([ids for _, ids in batches]))


def test_serving_names_the_classes_in_order_and_the_likeliest(
    loaded: Any, records: dict[str, list[bytes]], config: Config
) -> None:
    answer = signature(loaded, "serving_default")(tf.constant(photos_of(records["test"])))
    probabilities = answer["probabilities"].numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    expected = [name.encode() for name in config.classes]
    assert [list(row) for row in answer["labels"].numpy()] == [expected] * len(records["test"])
    assert list(answer["label"].numpy()) == [expected[i] for i in probabilities.argmax(axis=1)]


def test_an_answer_is_certain_from_the_threshold_on(
    loaded: Any,
    answers: Answers,
    calibrated: NDArray[np.float32],
    records: dict[str, list[bytes]],
) -> None:
    wanted = calibrated.max(axis=1) >= answers.certain.threshold
    assert wanted.any()
    assert not wanted.all()
    for name, photos in (
        ("serving_default", photos_of(records["test"])),
        ("serving_examples", records["test"]),
    ):
        answer = signature(loaded, name)(tf.constant(photos))
        np.testing.assert_array_equal(answer["certain"], wanted)


def test_the_score_for_a_dog_is_that_of_the_layers_before_training(
    loaded: Any,
    answers: Answers,
    features_before: dict[str, NDArray[np.float32]],
    records: dict[str, list[bytes]],
) -> None:
    assert isinstance(answers.subject, Subject)
    wanted = answers.subject.score(tf.constant(features_before["test"]))
    assert np.ptp(wanted) > 0.05
    answer = signature(loaded, "serving_examples")(tf.constant(records["test"]))
    np.testing.assert_allclose(answer["dog"], wanted, atol=1e-4)
    answer = signature(loaded, "serving_default")(tf.constant(photos_of(records["test"])))
    np.testing.assert_allclose(answer["dog"], wanted, atol=1e-4)


def test_an_ensemble_answers_by_the_mean_of_its_members_logits(
    classifier: Classifier,
    pretrained: keras.Model,
    answers: Answers,
    transform: Any,
    config: Config,
    split_files: dict[str, str],
    records: dict[str, list[bytes]],
    loaded: Any,
    tmp_path: Path,
) -> None:
    """Its map is the mean of theirs, and the first of them tells dogs from other things."""
    keras.utils.set_random_seed(1)
    other = build_classifier(config.model, len(config.classes))
    kernel, bias = other.head.get_layer("probabilities").get_weights()
    other.head.get_layer("probabilities").set_weights(
        [3 * kernel, bias + np.linspace(0, 0.3, len(bias))]
    )
    boundary = boundary_layer_name(classifier.backbone, config.model.unfreeze_layers)
    members = [
        fold_classifier(classifier, boundary, pretrained),
        fold_classifier(other, boundary, None),
    ]
    export(members, answers, transform, config.classes, tmp_path / "1")
    assert [check for check in check_export(tmp_path / "1") if check.problems] == []

    ((images, _),) = labelled_images(split_files["test"], transform, batch_size=99)
    tops = [each.backbone(images, training=False).numpy() for each in (classifier, other)]
    pooled = [top.mean(axis=(1, 2)) for top in tops]
    pairs = list(zip(members, pooled, strict=True))
    logits = np.mean([x @ each.kernel + each.bias for each, x in pairs], axis=0) / TEMPERATURE
    photos = tf.constant(photos_of(records["test"]))
    ensemble = tf.saved_model.load(str(tmp_path / "1"))
    answer = signature(ensemble, "serving_default")(photos)
    np.testing.assert_allclose(answer["probabilities"], softmax(logits, axis=1), atol=1e-4)
    alone = signature(loaded, "serving_default")(photos)
    np.testing.assert_allclose(answer["dog"], alone["dog"], atol=1e-5)

    evidence = signature(ensemble, "explain")(photos)["map"].numpy()
    bias = np.mean([each.bias for each in members], axis=0)[logits.argmax(axis=1)] / TEMPERATURE
    np.testing.assert_allclose(
        evidence.mean(axis=(1, 2)) + bias, logits.max(axis=1), rtol=1e-3, atol=1e-3
    )


def test_the_map_is_what_each_part_contributes_to_the_logit_of_the_label(
    classifier: Classifier,
    loaded: Any,
    transform: Any,
    split_files: dict[str, str],
    records: dict[str, list[bytes]],
) -> None:
    ((images, _),) = labelled_images(split_files["test"], transform, batch_size=99)
    top = classifier.backbone(images, training=False).numpy()
    kernel, bias = (
        weight / TEMPERATURE for weight in classifier.head.get_layer("probabilities").get_weights()
    )
    answer = signature(loaded, "explain")(tf.constant(photos_of(records["test"])))
    best = answer["probabilities"].numpy().argmax(axis=1)
    assert len(np.unique(best)) > 1
    wanted = np.stack([top[i] @ kernel[:, best[i]] for i in range(len(top))])
    found = answer["map"].numpy()
    assert np.ptp(found, axis=(1, 2)).min() > 0.01
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    # The mean and the bias are the logit: all logits differ from the logarithms of the
    # probabilities by one number a photo.
    logits = found.mean(axis=(1, 2)) + bias[best]
    others = top.mean(axis=(1, 2)) @ kernel + bias
    normalizer = np.log(np.exp(others).sum(axis=1))
    likeliest = np.log(answer["probabilities"].numpy().max(axis=1))
    np.testing.assert_allclose(logits - normalizer, likeliest, atol=1e-4)
    evaluation = signature(loaded, "serving_examples")(tf.constant(records["test"]))
    np.testing.assert_allclose(evaluation["map"], found, atol=1e-3)


def test_the_export_says_how_its_answers_were_settled(exported: Path, answers: Answers) -> None:
    assert isinstance(answers.subject, Subject)
    assert json.loads((exported / ANSWERS).read_text()) == {
        "temperature": TEMPERATURE,
        "val_calibration_error": {"before": 0.2, "after": 0.1},
        "certain": {
            "asked": 0.8,
            "threshold": answers.certain.threshold,
            "val_coverage": 0.4,
            "val_accuracy": 0.9,
        },
        "dog": {"by": Subject.BY, "val_kept": answers.subject.val_kept},
    }


def claiming(suffix: str, width: int, height: int) -> bytes:
    """A small photo whose header claims another size."""
    photo = bytearray(camera_photo(64, 64, suffix))
    if suffix == ".png":
        photo[16:24] = struct.pack(">II", width, height)
        photo[29:33] = struct.pack(">I", zlib.crc32(photo[12:29]))
    else:
        start_of_frame = photo.index(b"\xff\xc0")
        photo[start_of_frame + 5 : start_of_frame + 9] = struct.pack(">HH", height, width)
    return bytes(photo)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("size", [(60_000, 60_000), (50_001, 1000)])
def test_a_photo_that_claims_too_many_pixels_is_refused(
    loaded: Any, suffix: str, size: tuple[int, int]
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 50000000 pixels"):
        signature(loaded, "serving_default")(tf.constant([claiming(suffix, *size)]))


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"text", b"GIF89a" + bytes(20), camera_photo(8, 8, ".bmp")]
)
def test_what_is_neither_jpeg_nor_png_is_refused(loaded: Any, content: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="a photo should be JPEG or PNG"):
        signature(loaded, "serving_default")(tf.constant([content]))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_photo_is_refused(loaded: Any, suffix: str) -> None:
    photo = camera_photo(64, 64, suffix)
    for end in (10, 20, 30, len(photo) // 2):
        with pytest.raises(tf.errors.InvalidArgumentError):
            signature(loaded, "serving_default")(tf.constant([photo[:end]]))


def test_the_exported_model_passes_the_check_of_exports(exported: Path) -> None:
    checks = list(check_export(exported))
    assert not [check for check in checks if check.problems]


STRIDE = 8


@pytest.fixture(scope="module")
def pixel_probe(transform: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An exported model whose `map` is every eighth pixel of what it is given, and that says
    nothing beyond its probabilities."""
    folder = tmp_path_factory.mktemp("probe") / "1"
    image = keras.Input([224, 224, 3])
    nothing = keras.Model(image, image)
    pixels = keras.Model(image, keras.layers.MaxPooling2D(1, strides=STRIDE)(image))
    model = FoldedClassifier(
        trunk=nothing,
        tail=pixels,
        pretrained_tail=pixels,
        kernel=np.array([[1], [10], [100]], np.float32),
        bias=np.zeros(1, np.float32),
    )
    export([model], UNSURE, transform, ["seen"], folder)
    return tf.saved_model.load(str(folder))


def test_a_model_that_cannot_tell_is_never_certain_and_has_no_score_for_a_dog(
    pixel_probe: Any, records: dict[str, list[bytes]], tmp_path: Path
) -> None:
    answer = signature(pixel_probe, "serving_default")(tf.constant(photos_of(records["val"])))
    assert "dog" not in answer
    assert answer["probabilities"].numpy().tolist() == [[1.0]] * len(records["val"])
    assert not answer["certain"].numpy().any()
    assert UNSURE.as_json()["dog"] == {"by": None, "why": "nobody knows"}
    assert UNSURE.as_json()["certain"]["threshold"] is None


def test_a_record_has_the_same_pixels_in_training_evaluation_and_serving(
    pixel_probe: Any, transform: Any, split_files: dict[str, str], records: dict[str, list[bytes]]
) -> None:
    examples = records["val"]
    ((images, _),) = labelled_images(split_files["val"], transform, batch_size=99)
    training = images.numpy()[:, ::STRIDE, ::STRIDE] @ [1, 10, 100]
    evaluation = signature(pixel_probe, "serving_examples")(tf.constant(examples))
    serving = signature(pixel_probe, "explain")(tf.constant(photos_of(examples)))
    assert training.max() > 111 * 200
    np.testing.assert_allclose(evaluation["map"], training, atol=0.1)
    np.testing.assert_allclose(serving["map"], training, atol=0.1)


@pytest.mark.parametrize(
    ("suffix", "width", "height"), [(".jpg", 3000, 2000), (".png", 1500, 2250), (".jpg", 300, 200)]
)
def test_a_raw_photo_agrees_with_its_ingested_copy(
    pixel_probe: Any, loaded: Any, suffix: str, width: int, height: int
) -> None:
    raw = camera_photo(width, height, suffix)
    both = tf.constant([raw, prepare_photo(raw).jpeg])
    pixels, pixels_of_copy = signature(pixel_probe, "explain")(both)["map"] / 111
    # In levels of 255. Ingestion scales to 512 pixels and compresses once more, at quality 95;
    # the centred square of the copy begins at a whole pixel, up to half a pixel off.
    assert np.abs(pixels - pixels_of_copy).mean() < 2.5
    probabilities, of_copy = signature(loaded, "serving_default")(both)["probabilities"]
    np.testing.assert_allclose(probabilities, of_copy, atol=0.05)


CLIENT = """
import json, pathlib, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
photos = [pathlib.Path(file).read_bytes() for file in sys.argv[2:]]
answer = model.signatures["serving_default"](tf.constant(photos))
ours = {"components", "data", "pipeline", "serving", "tensorflow_transform", "tfx"}
print(json.dumps({
    "probabilities": answer["probabilities"].numpy().tolist(),
    "label": [label.decode() for label in answer["label"].numpy()],
    "labels": [[label.decode() for label in row] for row in answer["labels"].numpy()],
    "imported": sorted(ours & set(sys.modules)),
}))
"""


def test_tensorflow_alone_serves_the_model(
    classifier: Classifier,
    exported: Path,
    transform: Any,
    records: dict[str, list[bytes]],
    config: Config,
    tmp_path: Path,
) -> None:
    examples = records["val"][:2]
    files = [tmp_path / f"{index}.jpg" for index in range(len(examples))]
    for file, photo in zip(files, photos_of(examples), strict=True):
        file.write_bytes(photo)
    # -I: neither this folder nor PYTHONPATH is searched for code.
    client = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, str(exported), *map(str, files)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
    )
    answer = json.loads(client.stdout)
    assert answer["imported"] == []
    assert answer["labels"] == [list(config.classes)] * len(files)
    probabilities: NDArray[np.float64] = np.array(answer["probabilities"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert answer["label"] == [config.classes[i] for i in probabilities.argmax(axis=1)]
    layer = transform.transform_features_layer()
    images = layer({features.IMAGE: tf.constant(photos_of(examples))})[features.IMAGE_XF]
    expected = classifier.model(images, training=False).numpy() ** (1 / TEMPERATURE)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_a_failed_export_leaves_no_model(
    transform: Any, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_save(_: object, folder: str, **__: object) -> None:
        Path(folder).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", killed_save)
    image = keras.Input([224, 224, 3])
    nothing = keras.Model(image, image)
    kernel, bias = np.zeros((3, 4), np.float32), np.zeros(4, np.float32)
    model = FoldedClassifier(nothing, nothing, nothing, kernel, bias)
    with pytest.raises(KeyboardInterrupt):
        export([model], UNSURE, transform, config.classes, tmp_path / "model")
    assert not (tmp_path / "model").exists()
