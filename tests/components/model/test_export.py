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

from components.model.classifier import build_classifier
from components.model.export import export
from components.training.photo_batches import labelled_images
from data.contract import features
from data.drawn_dogs import draw_photo
from data.photos import decode_photo, prepare_photo
from pipeline.config import Config
from serving.checking.export_check import check_export

Signature = Callable[[tf.Tensor], dict[str, tf.Tensor]]


@pytest.fixture(scope="module")
def classifier(config: Config) -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_classifier(config.model, len(config.classes)).model


@pytest.fixture(scope="module")
def exported(
    classifier: keras.Model,
    transform_graph: Any,
    config: Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The classifier, moved away from where it was exported, and all it was made of deleted."""
    folder = tmp_path_factory.mktemp("export")
    graph = shutil.copytree(transform_graph.uri, folder / "graph")
    export(classifier, tft.TFTransformOutput(str(graph)), config.classes, folder / "model")
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
            },
        ),
        "serving_examples": ({"examples": (1, tf.string)}, {"probabilities": (2, tf.float32)}),
        "transform_features": ({"examples": (1, tf.string)}, {"label_xf": (1, tf.int64)}),
    }


def test_a_record_has_the_same_probabilities_in_training_evaluation_and_serving(
    classifier: keras.Model,
    loaded: Any,
    transform: Any,
    split_files: dict[str, str],
    records: dict[str, list[bytes]],
) -> None:
    examples = records["test"]
    batches = list(labelled_images(split_files["test"], transform, batch_size=5))
    training = np.concatenate([classifier(images, training=False) for images, _ in batches])
    evaluation = signature(loaded, "serving_examples")(tf.constant(examples))
    serving = signature(loaded, "serving_default")(tf.constant(photos_of(examples)))
    assert np.ptp(training, axis=0).min() > 0.01  # the photos can be told apart
    np.testing.assert_allclose(evaluation["probabilities"], training, atol=1e-5)
    np.testing.assert_allclose(serving["probabilities"], training, atol=1e-5)
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
def test_a_photo_that_is_cut_off_is_refused(loaded: Any, suffix: str) -> None:
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
    """An exported model whose `probabilities` are every eighth pixel of what it is shown."""
    image = keras.Input([224, 224, 3])
    seen = keras.layers.Flatten()(keras.layers.MaxPooling2D(1, strides=STRIDE)(image))
    folder = tmp_path_factory.mktemp("probe") / "1"
    names = [str(index) for index in range(seen.shape[1])]
    export(keras.Model(image, seen), transform, names, folder)
    return tf.saved_model.load(str(folder))


def test_a_record_has_the_same_pixels_in_training_evaluation_and_serving(
    pixel_probe: Any, transform: Any, split_files: dict[str, str], records: dict[str, list[bytes]]
) -> None:
    examples = records["val"]
    ((images, _),) = labelled_images(split_files["val"], transform, batch_size=99)
    training = images.numpy()[:, ::STRIDE, ::STRIDE].reshape(len(examples), -1)
    evaluation = signature(pixel_probe, "serving_examples")(tf.constant(examples))
    serving = signature(pixel_probe, "serving_default")(tf.constant(photos_of(examples)))
    assert training.max() > 200
    np.testing.assert_allclose(evaluation["probabilities"], training, atol=1e-3)
    np.testing.assert_allclose(serving["probabilities"], training, atol=1e-3)


@pytest.mark.parametrize(
    ("suffix", "width", "height"), [(".jpg", 3000, 2000), (".png", 1500, 2250), (".jpg", 300, 200)]
)
def test_a_raw_photo_agrees_with_its_ingested_copy(
    pixel_probe: Any, loaded: Any, suffix: str, width: int, height: int
) -> None:
    raw = camera_photo(width, height, suffix)
    both = tf.constant([raw, prepare_photo(raw).jpeg])
    pixels, pixels_of_copy = signature(pixel_probe, "serving_default")(both)["probabilities"]
    # In levels of 255. Ingestion scales to 512 pixels and compresses once more, at quality 95;
    # the centred square of the copy begins at a whole pixel, up to half of one beside.
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
    classifier: keras.Model,
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
    np.testing.assert_allclose(probabilities, classifier(images, training=False), atol=1e-5)


def test_a_failed_export_leaves_no_model(
    transform: Any, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_save(_: object, folder: str, **__: object) -> None:
        Path(folder).mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.saved_model, "save", killed_save)
    image = keras.Input([224, 224, 3])
    model = keras.Model(image, keras.layers.Flatten()(image))
    with pytest.raises(KeyboardInterrupt):
        export(model, transform, config.classes, tmp_path / "model")
    assert not (tmp_path / "model").exists()
