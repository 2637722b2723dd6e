"""The file that names several models."""

from pathlib import Path

import pytest

from serving.embedded.config_files import ModelConfig, read_batching, read_models
from serving.embedded.errors import ServerConfigError
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
        ("model_config_list {", "is not a text ModelServerConfig"),
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
    with pytest.raises(ServerConfigError) as caught:
        read_models(file)
    assert str(caught.value).startswith(str(file))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size: 32", "is not a text BatchingParameters"),
        ("batch_size { value: 32 }", 'no field named "batch_size"'),
        ("max_batch_size { value: 0 }", "max_batch_size = 0: should be at least 1"),
        ("batch_timeout_micros { value: -1 }", "should be at least 0"),
        ("allowed_batch_sizes: 8", "allowed_batch_sizes is for TF Serving itself"),
        ("max_execution_batch_size { value: 0 }", "should be at least 1"),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 9 }",
            "max_execution_batch_size = 9: should be at most max_batch_size, 8",
        ),
    ],
)
def test_wrong_batching_parameters_are_named(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "batching.txt"
    file.write_text(text)
    with pytest.raises(ServerConfigError, match=str(file)) as caught:
        read_batching(file)
    assert words in str(caught.value)
