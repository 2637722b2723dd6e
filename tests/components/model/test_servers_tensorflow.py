"""The export in the TensorFlow of each server that it is deployed on, which is older than ours."""

import functools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.answers import Answers
from components.model.certainty import Certainty
from components.model.classifier import build_classifier
from components.model.export import export
from components.model.folded import fold_classifier
from components.model.freezing import boundary_layer_name
from components.model.settings import ModelSettings
from components.model.subject import fit_subject
from components.model.weights import build_backbone
from data.contract.features import IMAGE
from pipeline.config import Config, VertexSettings

ROOT = Path(__file__).parents[3]
UV = Path(sys.executable).with_name("uv")
PHOTOS = 8

ASK = """
import sys
import numpy as np
import tensorflow as tf

model, asked, folder = sys.argv[1:]
loaded = tf.saved_model.load(model)
for name, inputs in np.load(asked, allow_pickle=True).items():
    answer = loaded.signatures[name](tf.constant(list(inputs)))
    np.savez(f"{folder}/{name}.npz", **{key: each.numpy() for key, each in answer.items()})
"""

pytestmark = pytest.mark.slow


def versions() -> dict[str, str]:
    """The TensorFlow of each server, by what it is for."""
    compose = (ROOT / "serving" / "deploy" / "docker-compose.yml").read_text()
    (serving,) = re.findall(r"tensorflow/serving:(\d+\.\d+)", compose)
    (vertex,) = re.findall(r"tf2-cpu\.(\d+-\d+)", VertexSettings(project="p").serving_image)
    return {"compose": serving, "vertex": vertex.replace("-", ".")}


@functools.cache
def python_with(version: str) -> Path:
    """A Python with a TensorFlow, in an environment that is made once."""
    environment = ROOT / f".venv-tensorflow-{version}"
    python, ready = environment / "bin" / "python", environment / "ready"
    if not ready.exists():
        make = ["venv", "--quiet", "--clear", "--python", sys.executable, str(environment)]
        subprocess.run([UV, *make], check=True)
        wanted = f"tensorflow-cpu=={version}.*"
        install = ["pip", "install", "--quiet", "--python", str(python), wanted]
        done = subprocess.run([UV, *install], stderr=subprocess.PIPE, text=True)
        if done.returncode:
            pytest.skip(f"{wanted} cannot be had: {' '.join(done.stderr.split())[:300]}")
        ready.touch()
    return python


@pytest.fixture(scope="module", params=["efficientnet_lite0", "efficientnet_b0"])
def exported(
    request: pytest.FixtureRequest,
    config: Config,
    transform: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A model that says all that one can say."""
    keras.utils.set_random_seed(0)
    settings = ModelSettings(backbone=request.param, weights="random")
    classifier = build_classifier(settings, len(config.classes))
    pretrained, _ = build_backbone(request.param, settings.weights)
    seen = np.random.default_rng(0).random((2, 40, pretrained.output_shape[-1]), np.float32)
    answers = Answers(
        temperature=2.0,
        val_calibration_error=(0.2, 0.1),
        certain=Certainty(asked=0.8, threshold=0.25, val_coverage=0.4, val_accuracy=0.9),
        subject=fit_subject(*seen),
    )
    boundary = boundary_layer_name(classifier.backbone, settings.unfreeze_layers)
    model = fold_classifier(classifier, boundary, pretrained)
    folder = tmp_path_factory.mktemp("export") / "model"
    export([model], answers, transform, config.classes, folder)
    return folder


@pytest.fixture(scope="module")
def asked(records: dict[str, list[bytes]]) -> dict[str, Any]:
    """What each signature is asked about the same photos."""
    examples = records["test"][:PHOTOS]
    parsed = (tf.train.Example.FromString(each).features.feature for each in examples)
    photos = [each[IMAGE].bytes_list.value[0] for each in parsed]
    of_photos = dict.fromkeys(("serving_default", "explain"), np.array(photos, object))
    of_examples = ("serving_examples", "transform_features")
    return of_photos | dict.fromkeys(of_examples, np.array(examples, object))


@pytest.mark.parametrize("server", versions())
def test_every_signature_answers_there_as_here(
    server: str, exported: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    python = python_with(versions()[server])
    here = tf.saved_model.load(str(exported)).signatures
    assert set(here) == set(asked)
    np.savez(tmp_path / "asked.npz", **asked)
    told = map(str, (exported, tmp_path / "asked.npz", tmp_path))
    done = subprocess.run([python, "-c", ASK, *told], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, inputs in asked.items():
        expected = here[name](tf.constant(list(inputs)))
        answer = np.load(tmp_path / f"{name}.npz", allow_pickle=True)
        assert set(answer) == set(expected)
        for key, there in answer.items():
            if there.dtype.kind == "f":
                np.testing.assert_allclose(there, expected[key], atol=1e-4, rtol=0)
            else:
                np.testing.assert_array_equal(there, expected[key])
