"""The configuration of a run: one typed object from a profile, a file and `--set`."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from components.data_gate.settings import DataGateSettings
from components.evaluation.settings import GateSettings
from components.model.settings import AnswerSettings, ModelSettings
from components.settings import Section, Share
from components.training.settings import TrainingSettings
from data.contract.errors import UsageError
from pipeline.kubernetes import KubernetesSettings

PROFILES = Path(__file__).with_name("profiles")


class ConfigError(UsageError):
    """The configuration or usage is wrong; the message names the key, the value and the fix."""


class DataSettings(Section):
    """Which photos are good enough to go on."""

    max_reject_share: Share = 0.2
    """The largest share of files that may not be usable photos."""
    relabels: Path | None = None
    """What people have decided about labels; by default `relabels.csv` beside the classes."""
    settled_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0
    """Photos that have changed since are left for the next run: they may be half-copied."""
    window: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Train, validate and test on the photos that came with the last so many spans; by default on
    all. A span that brought none does not count."""


class DemoSettings(Section):
    """The drawn photos that stand in when no folder is given."""

    photos_per_class: Annotated[int, Field(ge=20, le=10_000)] = 60


Retries = Annotated[int, Field(ge=0, le=10)]
Minutes = Annotated[int, Field(ge=1, le=43_200)]


class TaskSettings(Section):
    """What a cluster does about a task that fails or hangs."""

    retries: Retries = 0
    """How often it is tried again: after a minute, then after twice as long, at most an hour."""
    timeout_minutes: Minutes | None = None
    """After which it has failed; on Kubeflow Pipelines, as Vertex AI knows none for a task."""


class Resources(Section):
    """What one node of the pipeline gets on a cluster; what is not set is the cluster's choice."""

    cpu: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Cores."""
    memory_gb: Annotated[float, Field(gt=0, le=10_000)] | None = None
    gpu: Annotated[int, Field(ge=0, le=16)] = 0
    gpu_type: str | None = None
    """As the platform names it: `NVIDIA_TESLA_T4` on Vertex AI, `nvidia.com/gpu` on Kubeflow."""
    retries: Retries | None = None
    """In place of those of `tasks`, as is the time-out."""
    timeout_minutes: Minutes | None = None

    @model_validator(mode="after")
    def _gpu_is_named(self) -> Self:
        if self.gpu and not self.gpu_type:
            raise ValueError("gpu needs gpu_type, such as NVIDIA_TESLA_T4 or nvidia.com/gpu")
        return self


class VertexSettings(Section):
    """Vertex AI: the Trainer as a custom training job, the model on an endpoint."""

    project: Annotated[str, Field(min_length=1)]
    region: str = "us-central1"
    training_machine: str = "n1-standard-8"
    training_replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Machines that train together, each with the GPUs of `resources.Trainer`."""
    endpoint: str = "dog-emotion"
    """Display name; the endpoint is created if it does not exist."""
    serving_machine: str = "n1-standard-4"
    serving_image: str = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
    """A prebuilt container of Vertex AI: its API is what TFX's Pusher relies on."""


class ServingSettings(Section):
    """What becomes of pushed versions in a folder of runs on this machine."""

    promote: bool = False
    """Whether a version that a run pushes becomes stable at once, as by `promote`."""
    keep: Annotated[int, Field(ge=0, le=1000)] = 2
    """Versions that were stable before and that `clean` leaves there, for `rollback`."""


class Config(Section):
    """Everything that decides what a run does; stored with it."""

    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=1000, strict=False)] = (
        "angry",
        "happy",
        "relaxed",
        "sad",
    )
    """`run` fills them in from the photos."""
    data: DataSettings = DataSettings()
    demo: DemoSettings = DemoSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    answers: AnswerSettings = AnswerSettings()
    gate: GateSettings = GateSettings()
    data_gate: DataGateSettings = DataGateSettings()
    serving: ServingSettings = ServingSettings()
    beam: dict[str, str | bool | int | float | list[str]] = Field(default_factory=dict)
    """Options of Beam, such as `runner` or `direct_num_workers`; with none it runs in this process.
    `{image}` and `{root}` stand for what `compile` is given."""
    resources: dict[str, Resources] = Field(default_factory=dict)
    """By node, as in `resources.Trainer.cpu`; for a compiled pipeline."""
    tasks: TaskSettings = TaskSettings()
    """For a compiled pipeline, too."""
    kubernetes: KubernetesSettings = KubernetesSettings()
    vertex: VertexSettings | None = None

    def with_model(self, model: ModelSettings) -> Self:
        """The same, with a backbone and weights in place of `auto`.

        Raises:
            ConfigError: the training that is asked for cannot be had with them.
        """
        if wrong := _misfit(model, self.training):
            raise ConfigError(f"training: {wrong}")
        return self.model_copy(update={"model": model})

    def with_augmentation_mode(self, *, gpu: bool) -> Self:
        """The same, with a mode in place of `auto`.

        A GPU computes the frozen layers faster than a disk reads their output. But a tuner reads it
        a hundred times, and what teaches by a view must see it again.
        """
        settings = self.training.augmentation
        if settings.mode != "auto":
            return self
        again = self.training.tune or self.training.distill
        mode = "on_the_fly" if gpu and not again else "cached"
        chosen = settings.model_copy(update={"mode": mode})
        training = self.training.model_copy(update={"augmentation": chosen})
        return self.model_copy(update={"training": training})

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes) or not all(name.strip() for name in classes):
            raise ValueError("class names must be distinct and not empty")
        return classes

    @field_validator("training")
    @classmethod
    def _trains(cls, training: TrainingSettings, info: ValidationInfo) -> TrainingSettings:
        if training.frozen.epochs + training.unfrozen.epochs == 0:
            raise ValueError("frozen.epochs and unfrozen.epochs cannot both be 0")
        if training.warm_start and training.unfrozen.epochs == 0:
            raise ValueError("unfrozen.epochs cannot be 0 with warm_start, which leaves out frozen")
        if training.tune:
            if training.warm_start:
                raise ValueError("tune and warm_start cannot both be: one of them starts afresh")
            if training.frozen.epochs == 0 or training.unfrozen.epochs == 0:
                raise ValueError("frozen.epochs and unfrozen.epochs cannot be 0 with tune")
            if training.augmentation.mode == "on_the_fly":
                raise ValueError("augmentation.mode cannot be on_the_fly with tune; take cached")
        if training.distill and training.augmentation.mode == "on_the_fly":
            raise ValueError("distill needs the same views again: set augmentation.mode=cached")
        if training.distill and training.unfrozen.epochs == 0:
            raise ValueError("unfrozen.epochs cannot be 0 with distill, which teaches in it")
        model: ModelSettings | None = info.data.get("model")  # None: it is wrong itself
        if model and model.backbone != "auto" and (wrong := _misfit(model, training)):
            raise ValueError(wrong)
        return training


def _misfit(model: ModelSettings, training: TrainingSettings) -> str | None:
    """Why a training cannot be with so many backbones, `auto` resolved; None if it can."""
    several = len(model.backbones) > 1
    if training.tune and several:
        return "tune searches for one model.backbone, not for several"
    if training.warm_start and several:
        return "warm_start goes on with one model.backbone, not with several"
    if training.distill and not several:
        return "distill needs an ensemble to learn from: name several model.backbone"
    return None


def profile_names() -> list[str]:
    """The profiles that `--profile` takes."""
    return sorted(file.stem for file in PROFILES.glob("*.toml"))


def load_config(*profiles: str, file: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Builds the configuration: defaults, then the profiles, the file, the overrides.

    Args:
        profiles: names from `profile_names()`, each laid over those before it.
        file: a TOML file with the keys of `Config`.
        overrides: each `section.key=value`, the value as in TOML; quotes may be left out.

    Raises:
        ConfigError: an unknown key, a wrong type or an impossible value.
    """
    values: dict[str, Any] = {}
    for profile in profiles:
        if profile not in profile_names():
            raise ConfigError(f"--profile {profile}: choose from {', '.join(profile_names())}")
        values = _merged(values, _read_toml(PROFILES / f"{profile}.toml"))
    if file is not None:
        values = _merged(values, _read_toml(file))
    for override in overrides:
        values = _merged(values, _parse_override(override))
    return parse_config(values)


def parse_config(values: Mapping[str, Any]) -> Config:
    """Validates plain values.

    Raises:
        ConfigError: the message is one line that names each bad key, its value and what is allowed.
    """
    try:
        # JSON, because strict validation takes a JSON list for a tuple but not a Python list.
        # TOML's dates become text, which is then as wrong as any other text.
        return Config.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem) for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "configuration"
    if problem["type"] == "extra_forbidden":
        *section, _ = problem["loc"]
        return f"{key}: no such key; allowed here: {', '.join(_section(section).model_fields)}"
    reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{key} = {json.dumps(problem['input'], default=str)}: {reason}"


def _section(path: Sequence[str]) -> type[Section]:
    """The section at a path of keys, also within a table of sections or an optional one."""
    found: type[Section] = Config
    for key in path:
        if key in found.model_fields:
            annotation = found.model_fields[key].annotation
            (found,) = (
                each
                for each in (annotation, *get_args(annotation))
                if isinstance(each, type) and issubclass(each, Section)
            )
    return found


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"--config {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {file}: not TOML: {error}") from None


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, as in training.batch_size=16")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return dict(value)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, table by table."""
    merged = dict(base)
    for key, value in over.items():
        both_tables = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both_tables else value
    return merged
