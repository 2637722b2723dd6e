"""What a task's container runs on Kubeflow Pipelines: TFX's entry point, and what it lacks there.

TFX's entry point is made for Vertex AI. Kubeflow Pipelines' launcher differs in three ways
(kubeflow/pipelines, backend/src/v2/component/launcher_v2.go and backend/src/v2/driver):

- it copies artifacts to and from local folders, yet passes their remote URIs;
- it does not pass the types of input artifacts in the form that TFX needs;
- it runs no driver before the task, which ImportExampleGen needs to find the newest span.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

DRIVER_OPTION = "--driver"

_RUN_EXECUTOR = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"

_INVOCATION = "--json_serialized_invocation_args"
_INPUTS_SPEC = "--json_serialized_inputs_spec_args"

_LOCAL_FOLDERS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
"""Where the launcher keeps what lies at a remote URI."""

Invocation = dict[str, Any]
"""An ExecutorInput as JSON values."""


def main(arguments: Sequence[str]) -> int:
    """Runs one task.

    Args:
        arguments: those of TFX's entry point, and perhaps the module of a driver.

    Returns:
        The exit status of what was run.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument(DRIVER_OPTION, metavar="MODULE")
    parser.add_argument(_INVOCATION, required=True, dest="invocation")
    parser.add_argument(_INPUTS_SPEC, required=True, dest="inputs_spec")
    options, others = parser.parse_known_args(arguments)
    invocation = to_local(json.loads(options.invocation), json.loads(options.inputs_spec))
    output_file = Path(invocation["outputs"]["outputFile"])

    def run(module: str) -> int:
        command = [sys.executable, "-m", module, _INVOCATION, json.dumps(invocation)]
        command += [_INPUTS_SPEC, options.inputs_spec, *others]
        return subprocess.run(command).returncode

    if options.driver:
        if status := run(options.driver):
            return status
        add_found(invocation, json.loads(output_file.read_text()))
    if status := run(_RUN_EXECUTOR):
        return status
    output_file.write_text(json.dumps(to_remote(json.loads(output_file.read_text()))))
    return 0


def to_local(invocation: Invocation, inputs_spec: dict[str, Any]) -> Invocation:
    """The invocation that TFX needs: local folders, and a name and a type for every artifact.

    Args:
        invocation: what the launcher passes; changed in place.
        inputs_spec: the ComponentInputsSpec of the task, as JSON values.
    """
    for key, artifact in _artifacts(invocation.get("inputs", {})):
        artifact["type"] = inputs_spec["artifacts"][key]["artifactType"]
        artifact["uri"] = _to_local_folder(artifact["uri"])
    for key, artifact in _artifacts(invocation["outputs"]):
        artifact.setdefault("name", key)
        artifact["uri"] = _to_local_folder(artifact["uri"])
        Path(artifact["uri"]).mkdir(parents=True, exist_ok=True)
    return invocation


def add_found(invocation: Invocation, found: dict[str, Any]) -> None:
    """Adds what the driver says about the output artifacts, such as their span."""
    metadata = {key: artifact.get("metadata", {}) for key, artifact in _artifacts(found)}
    for key, artifact in _artifacts(invocation["outputs"]):
        artifact["metadata"] = {**artifact.get("metadata", {}), **metadata.get(key, {})}


def to_remote(output: dict[str, Any]) -> dict[str, Any]:
    """An ExecutorOutput with the URIs that the launcher knows."""
    for _, artifact in _artifacts(output):
        for scheme, folder in _LOCAL_FOLDERS.items():
            if artifact["uri"].startswith(folder):
                artifact["uri"] = scheme + artifact["uri"].removeprefix(folder)
    return output


def _artifacts(of: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, artifacts in of.get("artifacts", {}).items():
        for artifact in artifacts.get("artifacts", []):
            yield key, artifact


def _to_local_folder(uri: str) -> str:
    for scheme, folder in _LOCAL_FOLDERS.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    return uri


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
