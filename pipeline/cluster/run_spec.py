"""Runs a compiled pipeline on this machine, as Kubeflow Pipelines or Vertex AI would.

Each task's own container command runs in a process of its own, in an environment that holds what
the container image holds: the locked packages and our built wheel.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from data.contract.model import MODEL_NAME, push_destination
from pipeline.cluster.executions import Execution, TaskError, read_records
from pipeline.cluster.kubeflow_run import KubeflowRun
from pipeline.cluster.process_group import process_group
from pipeline.cluster.spec import DATA_ROOT, PUSH_DESTINATION, Spec
from pipeline.cluster.vertex_run import VertexRun
from pipeline.code_hash import ROOT


def make_image_environment() -> Path:
    """The environment that stands for the container image, made from the checkout if need be.

    Returns:
        Its folder of commands. Where there is no checkout, as in the image itself, it is this
        interpreter's.

    Raises:
        TaskError: it cannot be made; the reason has been printed.
    """
    install = ROOT / "requirements" / "install.py"
    if not install.is_file():
        return Path(sys.executable).parent
    environment = ROOT / ".venv-image"
    with process_group([sys.executable, str(install), "--image", str(environment)]) as process:
        failed = process.wait()
    if failed:
        raise TaskError(f"{environment} could not be made")
    return environment / "bin"


def run_spec(
    spec: Spec,
    *,
    root: Path,
    data: Path,
    commands: Path,
    report: Callable[[int, int, Execution], None],
) -> list[Execution]:
    """Runs every task, from ImportExampleGen to Pusher.

    Args:
        spec: the compiled pipeline.
        root: the pipeline root; a run goes to `root`/runs/N, pushed models to
            `root`/serving/dog_emotion. Earlier runs are this one's cache, and the place where
            resolvers look.
        data: the folder of `span-N` folders, the parameter `data_root`.
        commands: the folder of `python` and the other commands of the tasks.
        report: is told after each task how many are done, of how many, and the task's execution.

    Returns:
        One execution for each task, in the order they ran.

    Raises:
        BlockedError: the gate blocked the model.
        TaskError: a task failed, or the runs before cannot be relied on.
    """
    root = root.absolute()
    values = {
        **spec.parameters,
        DATA_ROOT: str(data.absolute()),
        PUSH_DESTINATION: push_destination(str(root / "serving" / MODEL_NAME)),
    }
    before = list(read_records(root / "runs"))
    kind = KubeflowRun if spec.needs_kubeflow else VertexRun
    run = kind(spec, _new_folder(root / "runs"), values, before, commands)
    for name in spec.order:
        execution = run.execute(name)
        report(len(run.done), len(spec.order), execution)
    return list(run.done.values())


def _new_folder(runs: Path) -> Path:
    """Makes `runs`/N, N being greater than all before."""
    runs.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name) for path in runs.iterdir() if path.name.isdecimal()]
    folder = runs / str(max(numbers, default=0) + 1)
    folder.mkdir()
    return folder
