"""The file that names several models."""

from pathlib import Path

import pytest

from serving.embedded.config_files import ModelConfig, read_models
from serving.embedded.errors import ServerError
from serving.embedded.versions import Policy


def write(folder: Path, text: str) -> Path:
    file = folder / "models.config"
    file.write_text(text)
    return file


def test_models_policies_and_labels_are_read(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        model_config_list {
          config { name: "a" base_path: "/models/a" model_platform: "tensorflow" }
          config { name: "b" base_path: "/models/b" model_version_policy { all {} } }
          config {
            name: "c"
            base_path: "/models/c"
            model_version_policy { specific { versions: 3 versions: 5 } }
            version_labels { key: "stable" value: 3 }
          }
          config {
            name: "d" base_path: "/models/d" model_version_policy { latest { num_versions: 2 } }
          }
        }
        """,
    )
    assert read_models(file) == [
        ModelConfig("a", Path("/models/a")),
        ModelConfig("b", Path("/models/b"), Policy(latest=None)),
        ModelConfig("c", Path("/models/c"), Policy(specific=(3, 5)), {"stable": 3}),
        ModelConfig("d", Path("/models/d"), Policy(latest=2)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no model"),
        ("model_config_list {", "is no text ModelServerConfig"),
        ("models {}", 'no field named "models"'),
        ('model_config_list { config { name: "a" } }', "needs a name and a base_path"),
        (
            'model_config_list { config { name: "a" base_path: "/" model_platform: "onnx" } }',
            "model_platform = onnx: should be tensorflow",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/" } '
            'config { name: "a" base_path: "/" } }',
            "two models have the same name",
        ),
    ],
)
def test_a_wrong_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ServerError) as caught:
        read_models(file)
    assert str(caught.value).startswith(str(file))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
