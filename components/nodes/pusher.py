"""Pushing a blessed model: complete or absent, and never twice in a row."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.components.pusher import executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components.saved_model import fingerprint, model_files
from components.staging import copy_folder, is_remote, readable
from data.contract.model import ACCURACY, TEST_FIGURES, base_directory
from data.contract.servable import NEEDED_FILES, SAVED_MODEL


def versions(base: str) -> list[str]:
    """The complete versions under a model's base folder, oldest first."""
    numbered = (f"{base}/{number}" for number in _numbers(base))
    return [
        version
        for version in numbered
        if all(tf.io.gfile.exists(f"{version}/{name}") for name in NEEDED_FILES)
    ]


def _numbers(base: str) -> list[str]:
    """What in the base folder is named like a version, in numerical order."""
    found = tf.io.gfile.listdir(base) if tf.io.gfile.isdir(base) else []
    # Object stores end the names of folders with a slash.
    return sorted(filter(str.isdecimal, (name.rstrip("/") for name in found)), key=int)


def push(model: str, base: str) -> str:
    """Copies a SavedModel to a new version, unless the newest version has the same content.

    An older version with that content is not enough: servers take the newest.

    Args:
        model: the SavedModel, local or remote (`gs://…`).
        base: the folder of versions, as TF Serving's `--model_base_path` takes it, local or remote.

    Returns:
        The newest version, which holds the model: a new one is named after the time, and its number
        is greater than all before it.
    """
    with readable(model) as source:
        for version in versions(base)[-1:]:
            with readable(version) as pushed:
                if fingerprint(pushed) == fingerprint(source):
                    return version
        # An incomplete version that somebody left there takes up its number, too.
        newest = max(map(int, _numbers(base)), default=0)
        target = f"{base}/{max(int(time.time()), newest + 1)}"
        # TF Serving passes over names that are not numbers, so it never sees half a version.
        unfinished = f"{base}/.unfinished"
        if is_remote(base):
            copy_folder(str(source), unfinished)
            _rename_remote(unfinished, target, model_files(source))
        else:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(source, unfinished)
            Path(unfinished).rename(target)
    return target


def push_measured(model: str, base: str, accuracy: float) -> str:
    """The same as `push`, with the accuracy on the test photos written down beside the model."""
    version = push(model, base)
    io_utils.write_string_file(f"{version}/{TEST_FIGURES}", json.dumps({ACCURACY: accuracy}))
    return version


def _rename_remote(unfinished: str, target: str, files: list[str]) -> None:
    # An object store renames one file at a time; what makes a version complete comes last.
    for name in sorted(files, key=SAVED_MODEL.__eq__):
        file = f"{target}/{name}"
        tf.io.gfile.makedirs(file.rpartition("/")[0])
        tf.io.gfile.rename(f"{unfinished}/{name}", file)
    # On a store that keeps no markers for folders, it has gone with its last file.
    if tf.io.gfile.exists(unfinished):
        tf.io.gfile.rmtree(unfinished)


class PusherExecutor(executor.Executor):
    """TFX's Pusher with `push` in place of its own copying."""

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
        (blessing,) = input_dict[standard_component_specs.MODEL_BLESSING_KEY]
        accuracy = blessing.get_float_custom_property(ACCURACY)
        version = push_measured(self.GetModelPath(input_dict), base, accuracy)
        self._MarkPushed(
            pushed, pushed_destination=version, pushed_version=version.rpartition("/")[2]
        )
