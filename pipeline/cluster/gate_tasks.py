"""Two tasks that show what the gate says: on a platform's page, and by how the run ends.

Platforms show the properties of an artifact as metrics if it is of the type `system.Metrics`, which
TFX has no class for. And of how a run went, Kubeflow Pipelines' API tells the states of the tasks
alone. So the task `Verdict` hands on what the evaluation says, as metrics and as a parameter, by
which the platform knows whether to begin `ModelGate`. That fails, and since it is not even begun
where the model may be pushed, its failure says that the model is blocked: losing its pod cannot
look like it. Nothing waits for it, as Argo does not begin what comes after a task that was skipped;
the Pusher looks at the evaluation itself. Nothing of TFX runs in the two.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.contract import verdict
from data.contract.errors import Exit, UserError
from data.contract.model import ACCURACY
from data.contract.nodes import EVALUATOR, MODEL_GATE, REPORT, VERDICT

_EVALUATION, _METRICS = "evaluation", "metrics"
IF_BLOCKED = f"inputs.parameter_values['{verdict.VERDICT}'] != '{verdict.PASSED}'"
"""The condition by which ModelGate is begun, in the Common Expression Language."""
_STRING = {"parameterType": "STRING"}
_METRICS_TYPE = {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"}
_SHOWN = (
    verdict.VERDICT,
    ACCURACY,
    verdict.ACCURACY_LOWER,
    verdict.ACCURACY_UPPER,
    verdict.MAJORITY,
    verdict.LOSS,
    verdict.CALIBRATION_ERROR,
    verdict.TEST_LOOKS,
)


class BlockedError(UserError):
    """The gate blocked the model of a run elsewhere."""

    exit_status = Exit.BLOCKED

    def __init__(self, message: str = "the gate blocked the model; nothing was pushed") -> None:
        super().__init__(message)


def add_gate_tasks(spec: dict[str, Any], image: str) -> None:
    """Puts the two tasks after the Evaluator.

    Args:
        spec: a compiled PipelineSpec as JSON values; changed in place.
        image: the container image of every task.
    """
    components, tasks = spec["components"], spec["root"]["dag"]["tasks"]
    made = components[EVALUATOR]["outputDefinitions"]["artifacts"][_EVALUATION]
    components[VERDICT] = {
        "inputDefinitions": {"artifacts": {_EVALUATION: {"artifactType": made["artifactType"]}}},
        "outputDefinitions": {
            "artifacts": {_METRICS: {"artifactType": _METRICS_TYPE}},
            "parameters": {verdict.VERDICT: _STRING},
        },
    }
    evaluation = {"producerTask": EVALUATOR, "outputArtifactKey": _EVALUATION}
    tasks[VERDICT] = {
        "inputs": {"artifacts": {_EVALUATION: {"taskOutputArtifact": evaluation}}},
        "dependentTasks": [EVALUATOR],
    }
    components[MODEL_GATE] = {"inputDefinitions": {"parameters": {verdict.VERDICT: _STRING}}}
    said = {"producerTask": VERDICT, "outputParameterKey": verdict.VERDICT}
    tasks[MODEL_GATE] = {
        "inputs": {"parameters": {verdict.VERDICT: {"taskOutputParameter": said}}},
        # The report is for blocked models, too, and nothing is begun after a failure.
        "dependentTasks": [REPORT, VERDICT],
        "triggerPolicy": {"condition": IF_BLOCKED},
    }
    for name in (VERDICT, MODEL_GATE):
        tasks[name] |= {
            "taskInfo": {"name": name},
            "componentRef": {"name": name},
            "cachingOptions": {"enableCache": False},
        }
        components[name]["executorLabel"] = f"{name}_executor"
        spec["deploymentSpec"]["executors"][f"{name}_executor"] = {
            "container": {
                "image": image,
                "command": ["python", "-m", "pipeline.cluster.gate_tasks"],
                "args": [name, "{{$}}"],
            }
        }


def main(arguments: Sequence[str]) -> int:
    """Runs one of the two tasks.

    Args:
        arguments: its name, and the ExecutorInput as JSON.

    Returns:
        The exit status.
    """
    task, text = arguments
    invocation = json.loads(text)
    inputs, outputs = invocation["inputs"], invocation["outputs"]
    output: dict[str, Any] = {}
    if task == MODEL_GATE:
        said = inputs["parameterValues"][verdict.VERDICT]
        if said != verdict.PASSED:
            print(f"the gate: {said}", file=sys.stderr)
            return Exit.BLOCKED
    else:
        (evaluation,) = inputs["artifacts"][_EVALUATION]["artifacts"]
        said = evaluation["metadata"]
        (metrics,) = outputs["artifacts"][_METRICS]["artifacts"]
        metrics["metadata"] = {name: said[name] for name in _SHOWN if name in said}
        output["artifacts"] = {_METRICS: {"artifacts": [metrics]}}
        output["parameterValues"] = {verdict.VERDICT: said[verdict.VERDICT]}
    output_file = Path(outputs["outputFile"])
    output_file.parent.mkdir(parents=True, exist_ok=True)
    output_file.write_text(json.dumps(output))
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
