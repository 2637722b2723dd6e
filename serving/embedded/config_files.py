"""TF Serving's configuration files: text protobufs that name models and set the batching."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.embedded.batching import BatchingParameters
from serving.embedded.errors import ServerConfigError
from serving.embedded.versions import Policy

_PACKAGE = "tensorflow.serving"
_SPLITTING = "enable_large_batch_splitting"
_WRAPPED = {
    "max_batch_size": 1,
    "batch_timeout_micros": 2,
    "max_enqueued_batches": 3,
    "num_batch_threads": 4,
    _SPLITTING: 8,
    "max_execution_batch_size": 9,
}
"""Fields of the message BatchingParameters in TF Serving's session_bundle_config.proto, which the
package tensorflow-serving-api leaves out; the text form names no numbers. Those below have no
counterpart here."""
_COUNTS = _WRAPPED.keys() - {"batch_timeout_micros", _SPLITTING}
_ALLOWED_BATCH_SIZES = 6
_PAD_VARIABLE_LENGTH_INPUTS = 7


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model to serve."""

    name: str
    base_path: Path
    policy: Policy = dataclasses.field(default_factory=Policy)
    labels: dict[str, int] = dataclasses.field(default_factory=dict)


def read_models(file: Path) -> list[ModelConfig]:
    """The models that a `--model_config_file` names (a text ModelServerConfig).

    Raises:
        ServerConfigError: it cannot be read, or does not name models that can be served.
    """
    config = _parse(file, model_server_config_pb2.ModelServerConfig())
    models = [_model(file, each) for each in config.model_config_list.config]
    if not models:
        raise ServerConfigError(f"{file}: model_config_list names no model")
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ServerConfigError(f"{file}: two models have the same name; found: {', '.join(names)}")
    return models


def read_batching(file: Path) -> BatchingParameters:
    """What a `--batching_parameters_file` sets (a text BatchingParameters).

    Raises:
        ServerConfigError: it cannot be read, or sets something that this server does not do.
    """
    parameters = _parse(file, _BatchingParameters())
    for name in ("allowed_batch_sizes", "pad_variable_length_inputs"):
        if getattr(parameters, name):
            raise ServerConfigError(f"{file}: {name} is for TF Serving itself; leave it out here")
    set_here = {
        name: getattr(parameters, name).value for name in _WRAPPED if parameters.HasField(name)
    }
    for name, value in set_here.items():
        least = 1 if name in _COUNTS else 0
        if value < least:
            raise ServerConfigError(f"{file}: {name} = {value}: should be at least {least}")
    found = dataclasses.replace(default_batching(), **set_here)
    if found.batch_size > found.max_batch_size:
        raise ServerConfigError(
            f"{file}: max_execution_batch_size = {found.batch_size}: should be at most "
            f"max_batch_size, {found.max_batch_size}"
        )
    return found


def default_batching() -> BatchingParameters:
    """The parameters if no file sets them: TF Serving uses one thread per core."""
    return BatchingParameters(num_batch_threads=len(os.sched_getaffinity(0)))


def _model(file: Path, config: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not config.name or not config.base_path:
        raise ServerConfigError(
            f"{file}: a model needs a name and a base_path; found: {config}".strip()
        )
    if config.model_platform not in ("", "tensorflow"):
        raise ServerConfigError(
            f"{file}: model_platform = {config.model_platform}: should be tensorflow"
        )
    return ModelConfig(
        name=config.name,
        base_path=Path(config.base_path),
        policy=_policy(config.model_version_policy),
        labels=dict(config.version_labels),
    )


def _policy(policy: Any) -> Policy:
    chosen = policy.WhichOneof("policy_choice")
    if chosen == "all":
        return Policy(latest=None)
    if chosen == "specific":
        return Policy(specific=tuple(policy.specific.versions))
    return Policy(latest=policy.latest.num_versions or 1)


def _parse(file: Path, into: Any) -> Any:
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), into)
    except OSError as error:
        raise ServerConfigError(f"{file} cannot be read: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ServerConfigError(f"{file} is not a text {into.DESCRIPTOR.name}: {error}") from error


def _batching_message() -> Callable[[], Any]:
    """The class of the message, made from its fields."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="batching_parameters.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    definition = file.message_type.add(name="BatchingParameters")
    for name, number in _WRAPPED.items():
        definition.field.add(
            name=name,
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".google.protobuf.{'BoolValue' if name == _SPLITTING else 'Int64Value'}",
            label=field.LABEL_OPTIONAL,
        )
    definition.field.add(
        name="allowed_batch_sizes",
        number=_ALLOWED_BATCH_SIZES,
        type=field.TYPE_INT64,
        label=field.LABEL_REPEATED,
    )
    definition.field.add(
        name="pad_variable_length_inputs",
        number=_PAD_VARIABLE_LENGTH_INPUTS,
        type=field.TYPE_BOOL,
        label=field.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{_PACKAGE}.BatchingParameters")
    )


_BatchingParameters = _batching_message()
