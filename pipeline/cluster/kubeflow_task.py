"""What a task's container runs on Kubeflow Pipelines: TFX's entry point, and what it lacks there.

TFX's entry point is made for Vertex AI. Kubeflow Pipelines' driver and launcher differ in four ways
(kubeflow/pipelines, backend/src/v2/driver and backend/src/v2/component/launcher_v2.go, 2.5 to
2.17):

- they copy artifacts to and from local folders, yet pass their remote URIs;
- they do not pass the types of input artifacts in the form that TFX needs;
- they add an output `executor-logs`, a file that is open already (not so before 2.5);
- they run nothing of ours before the cache is looked into. So the driver that finds the newest span
  for ImportExampleGen is a task of its own, and what it finds are parameters.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

DRIVER_OPTION = "--driver"
OUTPUTS_OPTION = "--outputs"

FOUND_BY_DRIVER = {
    "span": "NUMBER_INTEGER",
    "input_fingerprint": "STRING",
    "input_config": "STRING",
}
"""The parameters that the driver of an ExampleGen finds, and their types."""

LAUNCHER_ROOT = "LAUNCHER_ROOT"
"""The variable that says where the launcher's folders are: in `/`, except in a rehearsal."""

_RUN_EXECUTOR = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"

_INVOCATION = "--json_serialized_invocation_args"
_INPUTS_SPEC = "--json_serialized_inputs_spec_args"

FOLDERS = {"gs://": "gcs/", "s3://": "s3/", "minio://": "minio/"}
"""There, where it keeps what lies at a remote URI."""
_LOCAL_FOLDERS = {
    scheme: os.environ.get(LAUNCHER_ROOT, "/") + folder for scheme, folder in FOLDERS.items()
}

_OF_ARTIFACT = ("span", "input_fingerprint")
"""What the driver finds that is also said of the examples."""

Invocation = dict[str, Any]
"""An ExecutorInput as JSON values."""


def main(arguments: Sequence[str]) -> int:
    """Runs one task.

    Args:
        arguments: those of TFX's entry point, with the keys of the outputs that the component
            declares, or the module of a driver, which then runs alone.

    Returns:
        The exit status of what was run.
    """
    parser = argparse.ArgumentParser()
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(DRIVER_OPTION, metavar="MODULE")
    which.add_argument(OUTPUTS_OPTION, metavar="KEY,...", default="")
    parser.add_argument(_INVOCATION, required=True, dest="invocation")
    parser.add_argument(_INPUTS_SPEC, required=True, dest="inputs_spec")
    options, others = parser.parse_known_args(arguments)
    invocation = json.loads(options.invocation)
    declared = options.outputs.split(",")
    keep(invocation["outputs"], declared)
    if options.driver:
        add_examples(invocation)
    else:
        to_local(invocation, json.loads(options.inputs_spec))
        add_found(invocation)
    command = [sys.executable, "-m", options.driver or _RUN_EXECUTOR]
    command += [_INVOCATION, json.dumps(invocation), _INPUTS_SPEC, options.inputs_spec, *others]
    if status := subprocess.run(command).returncode:
        return status
    output_file = Path(invocation["outputs"]["outputFile"])
    said = to_remote(json.loads(output_file.read_text()))
    keep(said, declared)
    output_file.write_text(json.dumps(said))
    return 0


def keep(outputs: dict[str, Any], declared: Iterable[str]) -> None:
    """Forgets all output artifacts but those that the component declares.

    Args:
        outputs: of an ExecutorInput, to which the platform adds its own; or an ExecutorOutput.
            Changed in place.
        declared: their keys.
    """
    given = outputs.get("artifacts", {})
    outputs["artifacts"] = {key: given[key] for key in declared if key in given}


def add_examples(invocation: Invocation) -> None:
    """Adds an output for the driver to describe: it fails without, though it makes none."""
    examples = {"name": "examples", "type": {"schemaTitle": "tfx.Examples"}}
    invocation["outputs"]["artifacts"]["examples"] = {"artifacts": [examples]}


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


def add_found(invocation: Invocation) -> None:
    """Says of the outputs what a driver has found for this task, such as their span."""
    parameters = invocation.get("inputs", {}).get("parameterValues", {})
    found = {key: parameters[key] for key in _OF_ARTIFACT if key in parameters}
    for _, artifact in _artifacts(invocation["outputs"]):
        artifact["metadata"] = {**artifact.get("metadata", {}), **found}


def to_remote(output: dict[str, Any]) -> dict[str, Any]:
    """An ExecutorOutput with the URIs that the launcher knows."""
    for _, artifact in _artifacts(output):
        for scheme, folder in _LOCAL_FOLDERS.items():
            if artifact.get("uri", "").startswith(folder):
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
