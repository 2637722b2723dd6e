"""What a run starts elsewhere runs as the account that the run itself has: nobody would say so
otherwise, and it would be the project's default account."""

import copy
import json
from typing import Any

from data.contract.nodes import TRAINER

_CUSTOM_JOB = "ai_platform_training_args"
"""Of the Trainer's `custom_config`, as TFX names it."""
_ON_DATAFLOW = "--runner=DataflowRunner"
_WORKERS = "--service_account_email"


def with_account(spec: dict[str, Any], account: str) -> dict[str, Any]:
    """A copy of a pipeline whose custom job and workers of Dataflow run as an account.

    Args:
        spec: a PipelineSpec as JSON values.
        account: the e-mail address of a service account. An account that was named when
            compiling stays.
    """
    spec = copy.deepcopy(spec)
    parameters = spec["root"]["dag"]["tasks"][TRAINER]["inputs"]["parameters"]
    value = parameters["custom_config"]["runtimeValue"]
    config = json.loads(value["constant"])
    if _CUSTOM_JOB in config:
        config[_CUSTOM_JOB]["job_spec"].setdefault("service_account", account)
        value["constant"] = json.dumps(config, sort_keys=True)
    for executor in spec["deploymentSpec"]["executors"].values():
        arguments = executor.get("container", {}).get("args", [])
        named = any(argument.startswith(_WORKERS) for argument in arguments)
        if _ON_DATAFLOW in arguments and not named:
            arguments.append(f"{_WORKERS}={account}")
    return spec
