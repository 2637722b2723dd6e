"""Two tasks that show what the gate says: on a platform's page, and by how the run ends.

Platforms show the properties of an artifact as metrics if it is of the type `system.Metrics`, which
TFX has no class for. And of how a run went, Kubeflow Pipelines' API tells the states of the tasks
alone. So the task `Verdict` hands on what the evaluation says as metrics, and `ModelGate` fails
where that is not that the model may be pushed. Nothing of TFX runs in them.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.contract import verdict
from data.contract.errors import Exit, UserError
from data.contract.model import ACCURACY
from data.contract.nodes import EVALUATOR, MODEL_GATE, PUSHER, REPORT, VERDICT

_EVALUATION, _METRICS = "evaluation", "metrics"
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
    """Puts the two tasks between Evaluator and Pusher.

    Args:
        spec: a compiled PipelineSpec as JSON values; changed in place.
        image: the container image of every task.
    """
    evaluated = spec["components"][EVALUATOR]["outputDefinitions"]["artifacts"][_EVALUATION]
    tasks = spec["root"]["dag"]["tasks"]
    # The report is for blocked models, too, and nothing is begun after a failure.
    for name, after in {VERDICT: [EVALUATOR], MODEL_GATE: [VERDICT, REPORT]}.items():
        tasks[name] = {
            "taskInfo": {"name": name},
            "componentRef": {"name": name},
            "cachingOptions": {"enableCache": False},
            "dependentTasks": sorted({EVALUATOR, *after}),
            "inputs": {
                "artifacts": {
                    _EVALUATION: {
                        "taskOutputArtifact": {
                            "producerTask": EVALUATOR,
                            "outputArtifactKey": _EVALUATION,
                        }
                    }
                }
            },
        }
        spec["components"][name] = {
            "executorLabel": f"{name}_executor",
            "inputDefinitions": {
                "artifacts": {_EVALUATION: {"artifactType": evaluated["artifactType"]}}
            },
        }
        spec["deploymentSpec"]["executors"][f"{name}_executor"] = {
            "container": {
                "image": image,
                "command": ["python", "-m", "pipeline.cluster.gate_tasks"],
                "args": [name, "{{$}}"],
            }
        }
    spec["components"][VERDICT]["outputDefinitions"] = {
        "artifacts": {_METRICS: {"artifactType": _METRICS_TYPE}}
    }
    tasks[PUSHER]["dependentTasks"] = sorted({*tasks[PUSHER]["dependentTasks"], MODEL_GATE})


def main(arguments: Sequence[str]) -> int:
    """Runs one of the two tasks.

    Args:
        arguments: its name, and the ExecutorInput as JSON.

    Returns:
        The exit status.
    """
    task, text = arguments
    invocation = json.loads(text)
    (evaluation,) = invocation["inputs"]["artifacts"][_EVALUATION]["artifacts"]
    said = evaluation["metadata"]
    if task == MODEL_GATE and said[verdict.VERDICT] != verdict.PASSED:
        print(f"the gate: {said[verdict.VERDICT]}", file=sys.stderr)
        return Exit.BLOCKED
    made = {}
    if task == VERDICT:
        (metrics,) = invocation["outputs"]["artifacts"][_METRICS]["artifacts"]
        metrics["metadata"] = {name: said[name] for name in _SHOWN if name in said}
        made[_METRICS] = {"artifacts": [metrics]}
    output_file = Path(invocation["outputs"]["outputFile"])
    output_file.parent.mkdir(parents=True, exist_ok=True)
    output_file.write_text(json.dumps({"artifacts": made}))
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
