from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.errors import ComponentError
from components.model.auto import resolve_auto, resolve_settings
from components.model.efficientnet_lite import Lite
from components.model.files import sha256
from components.model.settings import ModelSettings
from components.model.weights import build_backbone

pytestmark = pytest.mark.usefixtures("no_cache_and_no_host")


@pytest.fixture
def tiny() -> keras.Model:
    return build_backbone("tiny", "random")[0]


@pytest.mark.parametrize(
    ("backbone", "given", "expected"),
    [
        ("efficientnet_b0", "auto", ("efficientnet_b0", "imagenet")),
        ("efficientnet_b0", "imagenet", ("efficientnet_b0", "imagenet")),
        ("efficientnet_b0", "random", ("efficientnet_b0", "random")),
        ("efficientnet_lite0", "auto", ("efficientnet_lite0", "imagenet")),
        ("efficientnet_lite0", "random", ("efficientnet_lite0", "random")),
        ("efficientnet_lite2", "auto", ("efficientnet_lite2", "imagenet")),
        ("tiny", "auto", ("tiny", "random")),
        ("auto", "imagenet", ("efficientnet_lite0", "imagenet")),
        ("auto", "random", ("efficientnet_b0", "random")),
        ("auto", "gs://bucket/b0.weights.h5", ("efficientnet_b0", "gs://bucket/b0.weights.h5")),
        (
            "efficientnet_lite0",
            "gs://bucket/lite0.keras",
            ("efficientnet_lite0", "gs://bucket/lite0.keras"),
        ),
    ],
)
def test_what_is_given_stays(backbone: str, given: str, expected: tuple[str, str]) -> None:
    resolved = resolve_auto(backbone, given)
    assert (resolved.backbone, resolved.weights) == expected


def test_a_given_file_is_for_b0_unless_stated_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "mine.weights.h5"
    file.touch()
    assert resolve_auto("auto", str(file)).backbone == "efficientnet_b0"


@pytest.mark.parametrize(
    ("backbone", "given", "message"),
    [
        ("resnet50", "auto", r"unknown backbone 'resnet50': choose efficientnet_b0, "),
        ("auto", "noisy-student", r"weights 'noisy-student': give auto, imagenet, random or a"),
        ("efficientnet_b0", "missing.keras", r"weights 'missing\.keras': there is no such file"),
        ("tiny", "imagenet", r"tiny has no imagenet weights"),
    ],
)
def test_what_cannot_be_is_named(backbone: str, given: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        resolve_auto(backbone, given)


def test_a_missing_package_is_named_with_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lite, "package", "no-such-package-of-weights")
    with pytest.raises(ComponentError, match=r"no-such-package\S* is not installed; .*--set"):
        resolve_auto("auto", "auto")


def test_the_weights_of_several_backbones_are_of_one_kind() -> None:
    def resolve(*backbones: str, weights: str = "auto") -> ModelSettings:
        return resolve_settings(ModelSettings(backbone=backbones, weights=weights))[0]

    lites = ("efficientnet_lite0", "efficientnet_lite2")
    assert resolve(*lites) == ModelSettings(backbone=lites, weights="imagenet")
    assert resolve("tiny", *lites, weights="random").weights == "random"
    with pytest.raises(ComponentError, match=r"'auto' are random for tiny and imagenet for eff"):
        resolve("tiny", *lites)
    with pytest.raises(ComponentError, match=r"'own\.keras' fit one backbone, not efficientnet_l"):
        resolve(*lites, weights="own.keras")


def test_tiny_is_the_same_each_time(tiny: keras.Model) -> None:
    again, origin = build_backbone("tiny", "random")
    assert (origin.source, origin.sha256) == ("random", "none")
    for first, second in zip(tiny.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet50", "random", "unknown backbone 'resnet50': choose efficientnet_b0, "),
        ("tiny", "imagenet", "backbone tiny has no imagenet weights"),
        ("tiny", "noisy-student", "weights 'noisy-student': give auto, imagenet, random or a file"),
        ("tiny", "gone.keras", r"weights 'gone\.keras': there is no such file"),
        ("tiny", "ram://gone.keras", r"weights 'ram://gone\.keras' cannot be loaded into tiny: .+"),
    ],
)
def test_what_cannot_be_built_is_named(name: str, weights: str, message: str) -> None:
    with pytest.raises(ComponentError, match=message):
        build_backbone(name, weights)


def changed_weights(model: keras.Model) -> list[np.ndarray]:
    """Fills the model with weights that no initialization gives it."""
    random = np.random.default_rng(1)
    weights = [random.uniform(0.5, 1, array.shape) for array in model.get_weights()]
    model.set_weights(weights)
    return weights


@pytest.mark.parametrize("form", [".weights.h5", ".keras", "with a top.weights.h5"])
def test_a_file_gives_all_weights(tiny: keras.Model, tmp_path: Path, form: str) -> None:
    expected = changed_weights(tiny)
    file = tmp_path / f"tiny{form}"
    if "top" in form:
        pooled = keras.layers.GlobalAveragePooling2D()(tiny.output)
        tiny = keras.Model(tiny.input, keras.layers.Dense(4)(pooled))
    if form.endswith(".keras"):
        tiny.save(file)
    else:
        tiny.save_weights(file)
    loaded, origin = build_backbone("tiny", str(file))
    assert (origin.source, origin.sha256) == (str(file), sha256(file))
    for array, value in zip(loaded.get_weights(), expected, strict=True):
        np.testing.assert_allclose(array, value, rtol=1e-6)


def test_a_remote_file_gives_all_weights(tiny: keras.Model, tmp_path: Path) -> None:
    expected = changed_weights(tiny)
    tiny.save_weights(tmp_path / "tiny.weights.h5")
    remote = "ram://bucket/tiny.weights.h5"
    tf.io.gfile.copy(str(tmp_path / "tiny.weights.h5"), remote, overwrite=True)
    loaded, origin = build_backbone("tiny", remote)
    assert (origin.source, origin.sha256) == (remote, sha256(tmp_path / "tiny.weights.h5"))
    np.testing.assert_allclose(loaded.get_weights()[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize("form", [".weights.h5", ".h5", ".keras"])
def test_a_file_of_another_model_is_named(tmp_path: Path, form: str) -> None:
    other = keras.Sequential([keras.Input([8, 8, 3]), keras.layers.Conv2D(16, 8, use_bias=False)])
    file = tmp_path / f"other{form}"
    if form == ".weights.h5":
        other.save_weights(file)
    else:
        other.save(file)
    with pytest.raises(ComponentError, match=rf"other{form}' cannot be loaded into tiny: .+") as e:
        build_backbone("tiny", str(file))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("form", [".weights.h5", ".h5", ".keras"])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_damaged_file_is_named(tmp_path: Path, form: str, content: bytes) -> None:
    file = tmp_path / f"damaged{form}"
    file.write_bytes(content)
    with pytest.raises(ComponentError, match=rf"damaged{form}' cannot be loaded into tiny: .+"):
        build_backbone("tiny", str(file))
