"""`serve` and `check`: a pushed model behind an API, and whether TF Serving could serve it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError
from data.contract.labels import MODELS_CONFIG
from data.contract.model import MODEL_NAME
from pipeline.commands.common import RUNS, add_command, complain, number

if TYPE_CHECKING:
    from pipeline.commands.common import Commands
    from serving.embedded.batching import BatchingParameters
    from serving.embedded.config_files import ModelConfig
    from serving.observing.feedback import FeedbackDesk

FEEDBACK_PHOTOS = 10_000
FEEDBACK_MEGABYTES = 1_000


_POLL_SECONDS = 1


def add_serve(commands: "Commands") -> None:
    from serving.embedded.options import ServerOptions

    parser = add_command(
        commands,
        "serve",
        help="TF Serving's REST API and a page to try it, on any machine",
        description="Serves models over TF Serving's REST API, without TF Serving: what the "
        "options name, or the run below runs/ that pushed the newest model: what is stable there, "
        "as soon as something is promoted, and the newest version until then. Versions take over "
        "without a request lost. The options are those of tensorflow_model_server, and "
        "--canary_share.",
    )
    parser.add_argument(
        "--host",
        default=ServerOptions.host,
        help="address to listen on (default: %(default)s, this machine alone; 0.0.0.0 is everyone)",
    )
    parser.add_argument(
        "--rest_api_port",
        type=number(0, 65535),
        default=ServerOptions.rest_api_port,
        metavar="N",
        help="port to listen on (default: %(default)s); 0 takes any free one",
    )
    parser.add_argument(
        "--model_name",
        metavar="NAME",
        help=f"of the model in --model_base_path (default: {MODEL_NAME})",
    )
    parser.add_argument(
        "--model_base_path",
        type=Path,
        metavar="DIR",
        help="the folder of the model's versions, of which the newest answers whatever is promoted",
    )
    parser.add_argument(
        "--model_config_file",
        type=Path,
        metavar="FILE",
        help="a text ModelServerConfig: several models, version policies and labels",
    )
    parser.add_argument(
        "--model_config_file_poll_wait_seconds",
        type=number(0, 2**31 - 1),
        metavar="N",
        help="seconds between looks at that file (default: 0, it is read once; "
        f"{_POLL_SECONDS} for one that `serve` finds by itself)",
    )
    parser.add_argument(
        "--canary_share",
        type=_share,
        metavar="SHARE",
        help="of the requests that name neither a version nor a label, the share from 0 to 1 that "
        "the canary answers; what is stable answers the others (default: the newest version "
        "answers them all, as in TF Serving; 0 with a file that `serve` finds by itself)",
    )
    parser.add_argument(
        "--enable_batching", action="store_true", help="answer waiting requests together"
    )
    parser.add_argument(
        "--batching_parameters_file",
        type=Path,
        metavar="FILE",
        help="a text BatchingParameters; needs --enable_batching",
    )
    parser.add_argument(
        "--rest_api_num_threads",
        type=number(1, 1024),
        default=ServerOptions.rest_api_num_threads,
        metavar="N",
        help="requests that are worked on at once (default: %(default)s)",
    )
    parser.add_argument(
        "--rest_api_timeout_in_ms",
        type=number(1, 2**31 - 1),
        default=ServerOptions.rest_api_timeout_in_ms,
        metavar="N",
        help="milliseconds that a model may take for a request (default: %(default)s)",
    )
    parser.add_argument(
        "--file_system_poll_wait_seconds",
        type=number(1, 2**31 - 1),
        default=ServerOptions.file_system_poll_wait_seconds,
        metavar="N",
        help="seconds between looks for new versions (default: %(default)s)",
    )
    parser.add_argument(
        "--feedback",
        type=Path,
        metavar="FOLDER",
        help="let the page ask what is right, and keep photo, answer and correction in this folder "
        "for `review --feedback` (default: nothing is asked or kept)",
    )
    parser.add_argument(
        "--feedback_photos",
        type=number(1, 10**6),
        default=FEEDBACK_PHOTOS,
        metavar="N",
        help="photos that the folder may hold (default: %(default)s)",
    )
    parser.add_argument(
        "--feedback_megabytes",
        type=number(1, 10**6),
        default=FEEDBACK_MEGABYTES,
        metavar="N",
        help="megabytes that the folder may hold (default: %(default)s)",
    )
    parser.set_defaults(command=_serve)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} should be from 0 to 1")
    return share


def _serve(options: argparse.Namespace) -> int:
    from serving.quiet_tensorflow import import_tensorflow

    batching = _batching(options)
    models, awaited = _models_to_serve(options)
    import_tensorflow()
    from serving.asking.page_files import PAGE
    from serving.embedded.options import ServerOptions
    from serving.embedded.server import EmbeddedServer
    from serving.observing.feedback import ENDPOINT
    from serving.observing.photo_metrics import PhotoMetrics

    desk, metrics = _feedback_desk(options), PhotoMetrics()
    server = EmbeddedServer(
        ServerOptions(
            models=models,
            page=PAGE,
            host=options.host,
            rest_api_port=options.rest_api_port,
            rest_api_num_threads=options.rest_api_num_threads,
            rest_api_timeout_in_ms=options.rest_api_timeout_in_ms,
            file_system_poll_wait_seconds=options.file_system_poll_wait_seconds,
            model_config_file=options.model_config_file,
            model_config_file_poll_wait_seconds=options.model_config_file_poll_wait_seconds or 0,
            model_config_file_awaited=awaited,
            canary_share=options.canary_share,
            batching=batching,
            observers=[metrics, desk] if desk else [metrics],
            collectors=[metrics],
            endpoints={ENDPOINT: desk} if desk else {},
        ),
        announce=lambda line: print(line, flush=True),
    )
    try:
        server.run()
    except KeyboardInterrupt:
        complain("stopped")
        return Exit.INTERRUPTED
    return Exit.DONE


def _feedback_desk(options: argparse.Namespace) -> "FeedbackDesk | None":
    from serving.observing.feedback import FeedbackDesk
    from serving.observing.feedback_folder import FeedbackFolder

    if options.feedback is None:
        return None
    most_bytes = options.feedback_megabytes * 10**6
    return FeedbackDesk(FeedbackFolder(options.feedback, options.feedback_photos, most_bytes))


def _models_to_serve(options: argparse.Namespace) -> "tuple[list[ModelConfig], bool]":
    """The models that the options name, and whether they are served only until the file appears
    that decides; a file that is found by itself is put among the options."""
    from serving.embedded.config_files import ModelConfig, read_models

    _require_options_that_fit(options)
    base_path = options.model_base_path
    if base_path is not None:
        _tell_what_is_not_followed(base_path)
    elif options.model_config_file is None:
        base_path = _newest_base_path()
        options.model_config_file = base_path.parent / MODELS_CONFIG
        if options.model_config_file_poll_wait_seconds is None:
            options.model_config_file_poll_wait_seconds = _POLL_SECONDS
        if options.canary_share is None:
            options.canary_share = 0
    file = options.model_config_file
    awaited = base_path is not None and file is not None and not file.is_file()
    if file is None or awaited:
        models = [ModelConfig(options.model_name or MODEL_NAME, base_path.absolute())]
    else:
        models = read_models(file)
    for model in models:
        if not model.base_path.is_dir():
            raise UsageError(f"{model.base_path} is not a folder: name a model's base path")
    return models, awaited


def _require_options_that_fit(options: argparse.Namespace) -> None:
    if options.model_config_file and options.model_base_path:
        raise UsageError("--model_config_file names the models: leave out --model_base_path")
    if options.model_name is not None and options.model_base_path is None:
        raise UsageError(
            f"--model_name {options.model_name} is for the model in --model_base_path: name that "
            "too, or leave out --model_name"
        )
    if options.canary_share is not None and options.model_base_path:
        raise UsageError(
            f"--canary_share {options.canary_share} goes by the labels in a file: name that by "
            "--model_config_file, and leave out --model_base_path"
        )


def _tell_what_is_not_followed(base_path: Path) -> None:
    file = base_path.parent / MODELS_CONFIG
    if file.is_file():
        complain(
            f"{file} is not followed, and the newest version answers: to follow it, replace "
            f"--model_base_path by --model_config_file {file} "
            f"--model_config_file_poll_wait_seconds {_POLL_SECONDS}"
        )


def _newest_base_path() -> Path:
    from serving.asking.errors import ModelError
    from serving.asking.pushed import newest_model

    try:
        return newest_model(RUNS).parent
    except ModelError as error:
        raise UsageError(error) from None  # there is none, so an option has to name it


def _batching(options: argparse.Namespace) -> "BatchingParameters | None":
    from serving.embedded.config_files import default_batching, read_batching

    if not options.enable_batching:
        if options.batching_parameters_file:
            raise UsageError("--batching_parameters_file needs --enable_batching")
        return None
    if options.batching_parameters_file:
        return read_batching(options.batching_parameters_file)
    return default_batching()


def add_check(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "check",
        help="whether TF Serving could serve a model",
        description="Looks at a SavedModel as TF Serving would: its signatures and operations, "
        "whether TensorFlow's C++ loads a copy of it elsewhere, and its warm-up requests.",
    )
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL_DIR",
        help="a version, or a folder of versions, the newest of which is taken",
    )
    parser.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from serving.asking.pushed import find_version

    return Exit.DONE if print_check(find_version(options.model)) else Exit.FAILED


def print_check(version: Path) -> bool:
    """Checks a version, and prints what was found; returns whether all is well."""
    from serving.quiet_tensorflow import import_tensorflow

    import_tensorflow()
    from serving.checking.export_check import check_export

    print(version)
    problems = 0
    for check in check_export(version):
        print(f"  {'no ' if check.problems else 'yes'}  {check.name}", flush=True)
        for problem in check.problems:
            print(f"         {problem}", flush=True)
        problems += len(check.problems)
    return not problems
