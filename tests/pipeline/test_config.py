from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config, ConfigError, load_config, parse_config, profile_names


def error_of(*overrides: str, file: Path | None = None, profile: str = "photos") -> str:
    """The message of a configuration that is refused: always one line."""
    with pytest.raises(ConfigError) as caught:
        load_config(profile, file=file, overrides=overrides)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "mine.toml"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize("profile", ["demo", "photos", "tiny"])
def test_every_profile_is_a_whole_configuration(profile: str) -> None:
    config = load_config(profile)
    assert config.model.unfreeze_layers == 30
    assert config.training.frozen.learning_rate >= config.training.unfrozen.learning_rate


def test_the_profiles_are_those() -> None:
    assert profile_names() == [
        "corrections",
        "dataflow",
        "demo",
        "flink",
        "photos",
        "tiny",
        "vertex",
    ]


def test_photos_get_ten_and_ten_epochs_and_the_default_gate() -> None:
    config = load_config("photos")
    assert (config.training.frozen.epochs, config.training.unfrozen.epochs) == (10, 6)
    assert config.gate.accuracy_floor is None
    assert config.gate.error_rate == 0.05


def test_an_override_is_laid_over_the_file_and_the_file_over_the_profile(
    toml: Callable[[str], Path],
) -> None:
    file = toml("[training.frozen]\nepochs = 3\nlearning_rate = 0.5\n[model]\ndropout = 0.4\n")
    config = load_config("tiny", file=file, overrides=["training.frozen.epochs=1"])
    assert config.training.frozen.epochs == 1
    assert config.training.frozen.learning_rate == 0.5
    assert config.model.dropout == 0.4
    assert config.model.backbone == "tiny"
    assert config.training.unfrozen == load_config("tiny").training.unfrozen


def test_the_last_of_two_overrides_of_a_key_counts() -> None:
    config = load_config("photos", overrides=["training.seed=1", "training.seed=2"])
    assert config.training.seed == 2


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("training.batch_size=8", lambda config: config.training.batch_size == 8),
        ("training.batch_size = 8", lambda config: config.training.batch_size == 8),
        ("training.frozen.learning_rate=1e-9", lambda c: c.training.frozen.learning_rate == 1e-9),
        ("model.dropout=0", lambda config: config.model.dropout == 0.0),
        ("model.weights=random", lambda config: config.model.weights == "random"),
        ("model.weights='random'", lambda config: config.model.weights == "random"),
        ("model.weights=/a/b=c.weights.h5", lambda c: c.model.weights == "/a/b=c.weights.h5"),
        (
            "training.augmentation.horizontal_flip=false",
            lambda config: config.training.augmentation.horizontal_flip is False,
        ),
        ('classes=["b", "a"]', lambda config: config.classes == ("b", "a")),
    ],
)
def test_an_override_is_read_as_toml_with_quotes_left_out_at_will(
    override: str, read: Callable[[Config], bool]
) -> None:
    assert read(load_config("photos", overrides=[override]))


def test_an_override_may_be_a_table_and_leaves_the_rest_of_the_section() -> None:
    config = load_config("demo", overrides=["training.frozen={epochs = 1}"])
    assert config.training.frozen.epochs == 1
    assert config.training.frozen.learning_rate == load_config("demo").training.frozen.learning_rate


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("colour=red", ["colour", "no such key", "data, demo, model, training, answers, gate"]),
        ("training.epochs=5", ["training.epochs", "no such key", "batch_size", "frozen"]),
        (
            "training.frozen.rate=5",
            ["training.frozen.rate", "no such key", "epochs, learning_rate"],
        ),
    ],
)
def test_an_unknown_key_is_named_with_those_allowed_there(override: str, said: list[str]) -> None:
    message = error_of(override)
    assert all(part in message for part in said)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.batch_size=many", ['training.batch_size = "many"', "integer"]),
        ("training.batch_size=8.5", ["training.batch_size = 8.5", "integer"]),
        ("training.batch_size=true", ["training.batch_size = true", "integer"]),
        (
            "training.frozen.learning_rate=fast",
            ['training.frozen.learning_rate = "fast"', "number"],
        ),
        ("training.augmentation.horizontal_flip=1", ["horizontal_flip = 1", "boolean"]),
        ("model.weights=7", ["model.weights = 7", "string"]),
        ("training=5", ["training = 5", "object"]),
        ("classes=angry", ['classes = "angry"']),
    ],
)
def test_a_wrong_type_is_named_with_the_one_wanted(override: str, said: list[str]) -> None:
    message = error_of(override)
    assert all(part in message for part in said), message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.batch_size=0", ["training.batch_size = 0", "greater than or equal to 1"]),
        ("training.batch_size=4096", ["training.batch_size = 4096", "less than or equal to 1024"]),
        ("training.frozen.epochs=-1", ["training.frozen.epochs = -1", "or equal to 0"]),
        ("training.frozen.learning_rate=0", ["learning_rate = 0", "greater than 0"]),
        ("training.frozen.learning_rate=inf", ["learning_rate = ", "less than or equal to 1"]),
        ("training.frozen.learning_rate=nan", ["learning_rate = NaN", "or equal to 1"]),
        ("training.patience=0", ["training.patience = 0", "or equal to 1"]),
        ("model.dropout=1", ["model.dropout = 1", "less than 1"]),
        ("model.unfreeze_layers=0", ["model.unfreeze_layers = 0", "or equal to 1"]),
        ("model.backbone=resnet", ["model.backbone", "resnet", "efficientnet_b0"]),
        (
            'model.backbone=["tiny", "tiny"]',
            ["model.backbone", "different ones of efficientnet_b0"],
        ),
        ('model.backbone=["tiny"]', ["model.backbone", "different ones of efficientnet_b0"]),
        ('model.backbone=["tiny", "auto"]', ["model.backbone", "different ones of"]),
        ("gate.accuracy_floor=1.5", ["gate.accuracy_floor = 1.5", "less than or equal to 1"]),
        ("gate.error_rate=-0.1", ["gate.error_rate = -0.1", "or equal to 0"]),
        ("data.max_reject_share=2", ["data.max_reject_share = 2", "or equal to 1"]),
        ("demo.photos_per_class=3", ["demo.photos_per_class = 3", "or equal to 20"]),
        ('classes=["a"]', ["classes", "at least 2"]),
        ('classes=["a", "b", "a"]', ["classes", "distinct"]),
        ('classes=["a", " "]', ["classes", "not empty"]),
    ],
)
def test_an_impossible_value_is_named_with_the_range(override: str, said: list[str]) -> None:
    message = error_of(override)
    assert all(part in message for part in said), message


def test_several_backbones_are_an_ensemble_that_cannot_be_warm_started() -> None:
    several = 'model.backbone=["efficientnet_lite0", "tiny"]'
    assert load_config(overrides=[several]).model.backbones == ("efficientnet_lite0", "tiny")
    assert load_config(overrides=["model.backbone=tiny"]).model.backbones == ("tiny",)
    message = error_of(several, "training.warm_start=true")
    assert "warm_start goes on with one model.backbone" in message


def test_what_teaches_is_an_ensemble_that_sees_the_same_views_again() -> None:
    several = 'model.backbone=["efficientnet_lite0", "tiny"]'
    distill = "training.distill=true"
    assert "name several model.backbone" in error_of(distill, "model.backbone=tiny")
    on_the_fly = "training.augmentation.mode=on_the_fly"
    assert "set augmentation.mode=cached" in error_of(several, distill, on_the_fly)
    assert "unfrozen.epochs cannot be 0" in error_of(several, distill, "training.unfrozen.epochs=0")
    config = load_config(overrides=[several, distill])
    assert config.with_augmentation_mode(gpu=True).training.augmentation.mode == "cached"


def test_training_for_no_epoch_at_all_is_refused() -> None:
    message = error_of("training.frozen.epochs=0", "training.unfrozen.epochs=0")
    assert "frozen.epochs and unfrozen.epochs cannot both be 0" in message
    message = error_of("training.warm_start=true", "training.unfrozen.epochs=0")
    assert "unfrozen.epochs cannot be 0 with warm_start" in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.warm_start=true", "tune and warm_start cannot both be"),
        ("training.frozen.epochs=0", "frozen.epochs and unfrozen.epochs cannot be 0 with tune"),
        ("training.unfrozen.epochs=0", "frozen.epochs and unfrozen.epochs cannot be 0 with tune"),
        ("training.augmentation.mode=on_the_fly", "mode cannot be on_the_fly with tune"),
    ],
)
def test_tuning_what_cannot_be_tuned_is_refused(override: str, said: str) -> None:
    assert said in error_of("training.tune=true", override)


def test_tuning_takes_the_cache_on_a_gpu_too() -> None:
    for tune, mode in ((False, "on_the_fly"), (True, "cached")):
        config = load_config("photos", overrides=[f"training.tune={str(tune).lower()}"])
        assert config.with_augmentation_mode(gpu=True).training.augmentation.mode == mode


@pytest.mark.parametrize("phase", ["frozen", "unfrozen"])
def test_either_phase_may_be_left_out(phase: str) -> None:
    config = load_config("photos", overrides=[f"training.{phase}.epochs=0"])
    assert getattr(config.training, phase).epochs == 0


@pytest.mark.parametrize(
    ("waiver", "said"),
    [
        ('check="drift", feature="image/class/text"', "data_gate.waivers.0.reason = "),
        ('check="drift", feature="image/class/text", reason=" "', "data_gate.waivers.0.reason = "),
        ('check="drift", feature="image/colour", reason="x"', "must be one of image/class/text, "),
        ('check="luck", feature="image/class/text", reason="x"', "'anomaly', 'drift' or 'skew'"),
        ('check="drift", feature="image/class/text", reason="x", till=3', "allowed here: check, "),
    ],
)
def test_a_waiver_says_of_what_and_why(waiver: str, said: str) -> None:
    message = error_of(f"data_gate.waivers=[{{{waiver}}}]")
    assert "data_gate.waivers.0" in message
    assert said in message


def test_all_that_is_wrong_is_said_at_once() -> None:
    message = error_of("training.batch_size=0", "model.dropout=7", "colour=red")
    assert all(key in message for key in ("training.batch_size", "model.dropout", "colour"))


@pytest.mark.parametrize("override", ["training.batch_size", "=5", "", "  =5"])
def test_an_override_without_key_or_value_is_answered_with_an_example(override: str) -> None:
    message = error_of(override)
    assert message.startswith(f"--set {override}")
    assert "key=value" in message


@pytest.mark.parametrize("override", ["training..batch_size=1", ".training=1", "training.=1"])
def test_an_override_with_an_empty_part_of_a_key_is_refused(override: str) -> None:
    assert "no such key" in error_of(override) or "key=value" in error_of(override)


def test_an_unknown_profile_is_answered_with_those_that_exist() -> None:
    message = error_of(profile="cats")
    assert "cats" in message
    assert "demo, flink, photos, tiny" in message


@pytest.mark.parametrize("profile", ["", "../profiles/demo", "demo.toml"])
def test_a_profile_is_a_name_and_not_a_path(profile: str) -> None:
    assert "choose from" in error_of(profile=profile)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    message = error_of(file=tmp_path / "none.toml")
    assert str(tmp_path / "none.toml") in message
    assert "No such file" in message


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    assert f"--config {tmp_path}" in error_of(file=tmp_path)


@pytest.mark.parametrize("text", ["[training", "epochs: 5", "a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_is_named_with_the_place(
    toml: Callable[[str], Path], text: str
) -> None:
    file = toml(text)
    message = error_of(file=file)
    assert message.startswith(f"--config {file}: not TOML")
    assert "(at " in message


def test_a_binary_file_is_not_toml(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(b"\xff\xd8\xff\xe0")
    assert f"--config {file}: not TOML" in error_of(file=file)


def test_a_wrong_value_in_a_file_is_named_as_one_on_the_command_line(
    toml: Callable[[str], Path],
) -> None:
    message = error_of(file=toml("[training]\nbatch_size = 0\nspeed = 3\n"))
    assert "training.batch_size = 0" in message
    assert "training.speed: no such key" in message


def test_a_date_in_a_file_is_a_wrong_value_like_any_other(toml: Callable[[str], Path]) -> None:
    message = error_of(file=toml("[training]\nseed = 2024-01-01\n"))
    assert 'training.seed = "2024-01-01"' in message


def test_the_stored_form_gives_the_same_configuration() -> None:
    config = load_config("demo", overrides=['classes=["x", "y"]', "gate.accuracy_floor=0.5"])
    assert Config.model_validate_json(config.model_dump_json()) == config
    values: dict[str, Any] = config.model_dump(mode="json")
    assert parse_config(values) == config


def test_a_configuration_cannot_be_changed_in_place() -> None:
    config = load_config("demo")
    with pytest.raises(ValueError, match="frozen"):
        config.classes = ("a", "b")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.tune=true", "tune searches for one model.backbone, not for several"),
        ("training.warm_start=true", "warm_start goes on with one model.backbone"),
    ],
)
def test_an_ensemble_that_the_folder_has_is_looked_at_as_one_that_is_asked_for(
    override: str, said: str
) -> None:
    config = load_config("photos", overrides=[override])
    lites = ("efficientnet_lite0", "efficientnet_lite2")
    ensemble = config.model.model_copy(update={"backbone": lites})
    with pytest.raises(ConfigError, match=said):
        config.with_model(ensemble)


def test_an_ensemble_that_the_folder_has_may_teach() -> None:
    config = load_config("photos", overrides=["training.distill=true"])
    lites = ("efficientnet_lite0", "efficientnet_lite2")
    ensemble = config.model.model_copy(update={"backbone": lites})
    assert config.with_model(ensemble).model.backbones == lites
    with pytest.raises(ConfigError, match="distill needs an ensemble"):
        config.with_model(config.model.model_copy(update={"backbone": lites[0]}))
