"""Pushing a blessed model: complete or absent, and never the same model twice."""

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils


def fingerprint(model: Path) -> str:
    """SHA-256 of a SavedModel: every file's path within it and content."""
    digest = hashlib.sha256()
    for file in sorted(path for path in model.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(model).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def versions(base: Path) -> list[Path]:
    """The complete versions under a model's base folder, oldest first."""
    complete = (path for path in _numbered(base) if (path / "saved_model.pb").is_file())
    return sorted(complete, key=_number)


def _numbered(base: Path) -> list[Path]:
    return [path for path in base.glob("*") if path.name.isdecimal()]


def _number(version: Path) -> int:
    return int(version.name)


def push(model: Path, base: Path) -> Path:
    """Copies a SavedModel to a new version, unless a version with the same content is there.

    Args:
        model: the SavedModel.
        base: the folder of versions, as TF Serving's `--model_base_path` takes it.

    Returns:
        The version that holds the model: named by the time, greater than all before it.
    """
    wanted = fingerprint(model)
    for version in reversed(versions(base)):
        if fingerprint(version) == wanted:
            return version
    # A number is taken also by what somebody left there incomplete.
    newest = max(map(_number, _numbered(base)), default=0)
    target = base / str(max(int(time.time()), newest + 1))
    # TF Serving passes over names that are not numbers, so it never sees half a version.
    unfinished = base / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(model, unfinished)
    unfinished.rename(target)
    return target


class PusherExecutor(executor.Executor):
    """TFX's Pusher with `push` in the place of its copy."""

    def Do(  # noqa: N802 (TFX's name)
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        version = push(
            Path(self.GetModelPath(input_dict)), Path(destination.filesystem.base_directory)
        )
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)
