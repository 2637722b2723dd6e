"""Pushing a blessed model: complete or absent, and never twice in a row."""

import hashlib
import shutil
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.pusher import executor
from tfx.types import artifact_utils, standard_component_specs

from components.staging import copy_folder, is_remote, readable
from data.contract.model import base_directory
from data.contract.servable import NEEDED_FILES, SAVED_MODEL


def fingerprint(model: Path) -> str:
    """SHA-256 of a SavedModel: every file's path within it and content."""
    digest = hashlib.sha256()
    for name in _files(model):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256((model / name).read_bytes()).digest())
    return digest.hexdigest()


def _files(model: Path) -> list[str]:
    """The path of every file within a model, sorted."""
    return sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())


def versions(base: str) -> list[str]:
    """The complete versions under a model's base folder, oldest first."""
    numbered = (f"{base}/{number}" for number in _numbers(base))
    return [
        version
        for version in numbered
        if all(tf.io.gfile.exists(f"{version}/{name}") for name in NEEDED_FILES)
    ]


def _numbers(base: str) -> list[str]:
    """What lies in the base folder and is named like a version, in the order of the numbers."""
    found = tf.io.gfile.listdir(base) if tf.io.gfile.isdir(base) else []
    # Object stores name folders with a slash at the end.
    return sorted(filter(str.isdecimal, (name.rstrip("/") for name in found)), key=int)


def push(model: str, base: str) -> str:
    """Copies a SavedModel to a new version, unless the newest version has the same content.

    An older one with that content does not do: servers take the newest.

    Args:
        model: the SavedModel, local or remote (`gs://…`).
        base: the folder of versions, as TF Serving's `--model_base_path` takes it, local or remote.

    Returns:
        The newest version, which holds the model: a new one is named by the time, and greater than
        all before it.
    """
    with readable(model) as source:
        for version in versions(base)[-1:]:
            with readable(version) as pushed:
                if fingerprint(pushed) == fingerprint(source):
                    return version
        # A number is taken also by what somebody left there incomplete.
        newest = max(map(int, _numbers(base)), default=0)
        target = f"{base}/{max(int(time.time()), newest + 1)}"
        # TF Serving passes over names that are not numbers, so it never sees half a version.
        unfinished = f"{base}/.unfinished"
        if is_remote(base):
            copy_folder(str(source), unfinished)
            _rename_remote(unfinished, target, _files(source))
        else:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(source, unfinished)
            Path(unfinished).rename(target)
    return target


def _rename_remote(unfinished: str, target: str, files: list[str]) -> None:
    # An object store renames one file at a time; what makes a version complete comes last.
    for name in sorted(files, key=SAVED_MODEL.__eq__):
        file = f"{target}/{name}"
        tf.io.gfile.makedirs(file.rpartition("/")[0])
        tf.io.gfile.rename(f"{unfinished}/{name}", file)
    tf.io.gfile.rmtree(unfinished)


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
        base = base_directory(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY])
        version = push(self.GetModelPath(input_dict), base)
        self._MarkPushed(
            pushed, pushed_destination=version, pushed_version=version.rpartition("/")[2]
        )
