"""`compile`, `submit` and `run-spec`: the same pipeline on Kubeflow and Vertex AI."""

import argparse
import importlib.util
import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError, UserError
from data.contract.nodes import MODEL_GATE, PUSHER
from pipeline.commands.common import add_command, add_configuration, complain, configuration

if TYPE_CHECKING:
    from pipeline.cluster.executions import Execution
    from pipeline.cluster.spec import Spec
    from pipeline.cluster.submit import Platform
    from pipeline.commands.common import Commands

_TARGETS = ("kubeflow", "vertex")
_SUFFIXES = (".json", ".yaml", ".yml")
_CRON = re.compile(r"[\w*/,-]+( [\w*/,-]+){4}", re.ASCII)


def _require_kfp() -> None:
    if importlib.util.find_spec("kfp") is None:
        raise UserError("the package kfp is not installed: TFX brings it only with Python 3.11")


def add_compile(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "compile",
        help="the pipeline as a spec for Kubeflow Pipelines or Vertex AI",
        description="Compiles the pipeline that `run` runs to a pipeline spec, in seconds, "
        "without data or credentials. A run may name another data root, push destination and "
        "pipeline root; the rest is fixed here.",
    )
    parser.add_argument("--target", choices=_TARGETS, required=True)
    parser.add_argument("--image", required=True, help="the container image of every task")
    parser.add_argument(
        "--root", required=True, metavar="URI", help="where artifacts go, as in gs://bucket/runs"
    )
    parser.add_argument(
        "--data", required=True, metavar="URI", help="the folder of span-N folders from `data`"
    )
    parser.add_argument(
        "--serving",
        metavar="URI",
        help="the folder of model versions to push to (default: ROOT/serving/dog_emotion)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the spec: .json, .yaml or .yml"
    )
    add_configuration(parser, "photos; lay vertex or dataflow over it", default=["photos"])
    parser.set_defaults(command=_compile)


def _compile(options: argparse.Namespace) -> int:
    from pipeline.progress import chatter_to
    from pipeline.workdir import write_atomically

    config = configuration(options)
    if options.out.suffix not in _SUFFIXES:
        raise UsageError(f"--out {options.out}: it must end in {', '.join(_SUFFIXES)}")
    if not options.out.parent.is_dir():
        raise UsageError(f"--out {options.out}: there is no folder {options.out.parent}")
    if config.serving.promote:
        raise UsageError(
            "serving.promote = true: only `run` promotes what it has pushed; leave it out"
        )
    _require_kfp()
    with chatter_to(Path(os.devnull)):
        from pipeline.cluster.compile_spec import as_text, compile_spec
        from pipeline.cluster.spec import parse_spec

        job = compile_spec(
            config,
            options.target,
            image=options.image,
            root=options.root,
            data=options.data,
            serving=options.serving,
        )
    spec = parse_spec(job, options.out)
    with _system_errors_said():
        write_atomically(options.out, as_text(job, options.out.suffix))
    print(f"{options.out}: {len(spec.order)} tasks for {options.target}, image {options.image}")
    print(
        f"on {options.target} the data gate does not look for drift: "
        "a run there does not find the statistics of an earlier span"
    )
    print(
        "a run trains on the newest span of the data alone: write the photos as a whole, "
        "without `data --span`"
    )
    return Exit.DONE


def add_submit(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "submit",
        help="send a compiled spec to its platform",
        description="Sends what `compile` wrote, with the platform's own client, which finds the "
        "credentials in the environment: Application Default Credentials on Vertex AI, and the "
        "kubeconfig or the variables of the kfp client on Kubeflow.",
    )
    parser.add_argument("spec", type=Path, metavar="SPEC")
    parser.add_argument("--target", choices=_TARGETS, required=True)
    parser.add_argument("--name", help="the run's (default: the pipeline's)")
    parser.add_argument("--experiment", metavar="NAME", help="what the run is shown under")
    parser.add_argument("--root", metavar="URI", help="a pipeline root other than the compiled one")
    parser.add_argument("--data", metavar="URI", help="a data root other than the compiled one")
    parser.add_argument("--serving", metavar="URI", help="another folder of model versions")
    parser.add_argument("--project", help="the Google Cloud project; for vertex")
    parser.add_argument(
        "--region", default="us-central1", help="the Vertex AI region (default: %(default)s)"
    )
    parser.add_argument("--service-account", metavar="ACCOUNT", help="what the tasks run as")
    parser.add_argument(
        "--host", metavar="URL", help="Kubeflow Pipelines' host (default: $KF_PIPELINES_ENDPOINT)"
    )
    parser.add_argument(
        "--namespace", metavar="NAME", help="the user's, where Kubeflow has several users"
    )
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--cron",
        metavar="WHEN",
        help="make a schedule in place of a run: minute, hour, day, month, day of the week, in "
        'UTC, as in "0 3 * * 1"; each run takes the span that is then the newest',
    )
    when.add_argument("--wait", action="store_true", help="show the tasks, and end as the run ends")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be sent, and send nothing"
    )
    parser.set_defaults(command=_submit)


def _submit(options: argparse.Namespace) -> int:
    _require_kfp()
    from pipeline.cluster.spec import read_spec, require_ours
    from pipeline.cluster.submit import Submission

    spec = read_spec(options.spec)
    require_ours(spec, options.spec)
    platform = _platform(options, spec)
    _require_places(options, spec)
    submission = Submission.of(
        options.spec,
        spec,
        name=options.name,
        experiment=options.experiment,
        root=options.root,
        data=options.data,
        serving=options.serving,
        service_account=options.service_account,
    )
    if options.cron is not None and not _CRON.fullmatch(options.cron):
        raise UsageError(
            f'--cron "{options.cron}": expected minute, hour, day, month and day of the week, as '
            'in "0 3 * * 1"'
        )
    if options.wait and not spec.tells_if_blocked:
        raise UsageError(
            f"{options.spec}: --wait needs a task {MODEL_GATE} that is begun for blocked models "
            "alone; compile it anew"
        )
    if options.wait and options.dry_run:
        raise UsageError("--wait: with --dry-run there is no run to wait for")
    if options.dry_run:
        print(platform.request(submission, options.cron))
    elif options.cron is not None:
        print(f"schedule {platform.start_by(submission, options.cron)}")
    else:
        run = platform.start(submission)
        print(f"run {run}", flush=True)
        if options.wait:
            return _wait(platform, run, spec.order)
    return Exit.DONE


def _platform(options: argparse.Namespace, spec: "Spec") -> "Platform":
    """The platform that is meant, if the spec is made for it."""
    from pipeline.cluster.kubeflow_api import Kubeflow
    from pipeline.cluster.vertex_api import Vertex

    for needed, target in ((spec.needs_vertex, "vertex"), (spec.needs_kubeflow, "kubeflow")):
        if needed and options.target != target:
            raise UsageError(f"{options.spec}: it was compiled with --target {target}")
    if options.target == "kubeflow":
        return Kubeflow(options.host, options.namespace)
    if not options.project:
        raise UsageError("--target vertex needs --project")
    if options.namespace:
        raise UsageError("--namespace: it is for --target kubeflow")
    if options.cron is not None and options.experiment:
        raise UsageError("--experiment: a schedule of Vertex AI has none")
    return Vertex(options.project, options.region)


def _require_places(options: argparse.Namespace, spec: "Spec") -> None:
    from pipeline.cluster.places import require_places

    given = {"--root": options.root, "--data": options.data, "--serving": options.serving}
    named = {option: place for option, place in given.items() if place is not None}
    require_places(options.target, named, spec.mounts)


def _wait(platform: "Platform", run: str, tasks: Sequence[str]) -> int:
    from pipeline.cluster.refusals import SubmitError
    from pipeline.cluster.waiting import wait

    def show(task: str, state: str) -> None:
        print(f"{task:<44}{state}", flush=True)

    try:
        wait(lambda: platform.look(run), tasks, show, complain)
    except SubmitError as error:
        raise SubmitError(f"{error}; the run goes on: {run}") from error
    except KeyboardInterrupt:
        complain(f"interrupted; the run goes on: {run}")
        return Exit.INTERRUPTED
    return Exit.DONE


def add_run_spec(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "run-spec",
        help="run a compiled spec on this machine, without a cluster",
        description="Runs each task's own container command in a process of its own, in an "
        "environment that holds what the container image holds: the locked packages and the built "
        "wheel. Unchanged tasks are taken from earlier runs, as are a resolver's artifacts.",
    )
    parser.add_argument("spec", type=Path, metavar="SPEC")
    parser.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="stands for the pipeline root"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="the folder of span-N folders"
    )
    parser.set_defaults(command=_run_spec)


def _run_spec(options: argparse.Namespace) -> int:
    _require_kfp()
    from pipeline.cluster.spec import read_spec, require_ours
    from pipeline.workdir import require_plain

    spec = read_spec(options.spec)
    require_ours(spec, options.spec)
    require_plain("--root", options.root)
    require_plain("--data", options.data)
    if not options.data.is_dir():
        raise UsageError(f"--data {options.data}: there is no such folder")
    from pipeline.cluster.gate_tasks import BlockedError
    from pipeline.cluster.run_spec import make_image_environment, run_spec

    _say_what_is_read(options.data)
    with _system_errors_said(), _ended_as_by_ctrl_c():
        commands = make_image_environment()
        print(f"{'':8}{'task':<44}{'seconds':>8}{'CPU s':>8}{'peak MB':>9}", flush=True)
        executions = run_spec(
            spec, root=options.root, data=options.data, commands=commands, report=_show
        )
    destination = _pushed_destination(executions)
    if destination is None:
        raise BlockedError
    print(f"model   {destination}")
    return Exit.DONE


@contextmanager
def _system_errors_said() -> Iterator[None]:
    """Reports in one line what the file system refused."""
    try:
        yield
    except OSError as error:
        raise UserError(error) from error


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Lets SIGTERM end the task that is running, too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(done: int, total: int, execution: "Execution") -> None:
    line = f"{done:>3}/{total:<4}{execution.task:<44}"
    if execution.how == "run":
        line += f"{execution.seconds:>8.1f}{execution.cpu_seconds:>8.1f}{execution.peak_mb:>9,.0f}"
    elif execution.how == "resolved":
        found = ", ".join(each.name for made in execution.outputs.values() for each in made)
        line += f"found {found or 'nothing'}"
    else:
        line += f"{execution.how:>8}"
    print(line, flush=True)


def _say_what_is_read(data: Path) -> None:
    """Names the span that is read, and those that it adds to and that are not read with it."""
    from data import spans

    span = spans.find_newest(data)
    if span is None or not (span / spans.MANIFEST).exists():
        return
    left_out = ", ".join(each.name for each in spans.find_added_to(span))
    print(f"data    {span}" + (f", without {left_out}, to which it adds" if left_out else ""))


def _pushed_destination(executions: "list[Execution]") -> str | None:
    """Where the Pusher put the model; None if it did not."""
    from pipeline.cluster.spec import PUSHED_MODEL

    (pusher,) = (each for each in executions if each.task == PUSHER)
    (pushed,) = pusher.outputs[PUSHED_MODEL]
    return str(pushed.metadata["pushed_destination"]) if pushed.metadata["pushed"] else None
