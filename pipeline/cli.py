"""The command line. Heavy imports wait for the command that needs them."""

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.workdir import Workdir
    from serving.batching import BatchingParameters
    from serving.client import RemotePredictor
    from serving.config_files import ModelConfig
    from serving.predictor import Predictor

RUNS = Path("runs")

_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


class Exit(IntEnum):
    """What the exit status says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BLOCKED = 3
    INTERRUPTED = 130


_EXIT_STATUS = """\
Exit status: 0 done, 1 failed, 2 wrong usage or configuration,
3 the gate blocked the model, 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the console script `dog-emotion`.

    Args:
        arguments: the command line without the program's name; sys.argv's by default.

    Returns:
        One of `Exit`. argparse itself exits with 2 on wrong usage.
    """
    options = _parser().parse_args(arguments)
    try:
        status = int(options.command(options))
        sys.stdout.flush()  # a reader that has gone shows here, not at exit
        return status
    except KeyboardInterrupt:
        _complain("interrupted; the same command again goes on from here")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as with `| head`: Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dog-emotion",
        description="From a folder of labelled dog photos to an emotion classifier in production.",
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_data(commands)
    _add_predict(commands)
    _add_serve(commands)
    _add_check(commands)
    return parser


def _add_run(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "run",
        help="photos to a gated, pushed model",
        description="Photos to TFRecords to a trained, evaluated and, if the gate lets it, pushed "
        "model. With no --photos, drawn dog faces stand in. Running again in the same folder "
        "takes unchanged steps from the cache and asks the model not to be worse than the last.",
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help="one folder of photos a class, or a CSV file with the columns path,label",
    )
    parser.add_argument(
        "--profile",
        metavar="demo|photos",
        help="the defaults to start from (default: photos with --photos, else demo)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML laid over the profile")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="one setting, laid over all else, as in training.frozen.epochs=5; repeatable",
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="where everything goes (default: runs/PROFILE)",
    )
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from pipeline.config import ConfigError, load_config
    from pipeline.workdir import Workdir, WorkdirError

    profile = options.profile or ("photos" if options.photos else "demo")
    try:
        config = load_config(profile, file=options.config, overrides=options.overrides)
        if profile == "photos" and options.photos is None:
            raise ConfigError("--profile photos needs --photos DIR")
        if options.photos is not None and not options.photos.exists():
            raise ConfigError(f"--photos {options.photos}: there is no such folder")
    except ConfigError as error:
        return _fail(error, Exit.USAGE)
    workdir = Workdir((options.workdir or RUNS / profile).absolute())
    print(f"workdir   {workdir.root}", flush=True)
    try:
        with workdir.locked():
            return _run_in(workdir, config, options.photos)
    except WorkdirError as error:
        return _fail(error)


def _run_in(workdir: "Workdir", config: "Config", photos: Path | None) -> int:
    from pipeline.progress import chatter_to

    try:
        with chatter_to(workdir.log):
            try:
                print("starting  TensorFlow and TFX", flush=True)
                from pipeline.local_runner import run_locally
                from pipeline.summary import as_text

                summary = run_locally(config, workdir, photos)
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:
        return _fail_run(error, workdir)
    print(as_text(summary))
    print(f"curves    {workdir.curves}\nmetrics   {workdir.metrics}")
    if summary.model is None:
        _complain("the gate blocked the model; nothing was pushed")
        return Exit.BLOCKED
    print(f"model     {summary.model}\npredict   dog-emotion predict --model {summary.model} PHOTO")
    return Exit.DONE


def _fail_run(error: Exception, workdir: "Workdir") -> int:
    """Says in one line why a run failed: in our words where the cause is known."""
    from components.errors import ComponentError
    from data.errors import DataError
    from pipeline.config import ConfigError

    if any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error)):
        raise KeyboardInterrupt from None  # Beam turns it into an error of its own
    if isinstance(error, ConfigError):
        return _fail(error, Exit.USAGE)
    if isinstance(error, (ComponentError, DataError)):
        return _fail(error)
    if cause := _storage_problem(error):
        return _fail(f"{cause}; make room or name another --workdir, then run again")
    reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
    return _fail(f"{reason[:300]} (all of it: {workdir.log})")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those it followed from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _storage_problem(error: BaseException) -> str | None:
    """The words for a full or unwritable disk, if that is what lies behind an error.

    TensorFlow, MLMD and Beam wrap the system's error, and keep only its text.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _STORAGE_ERRORS:
            return f"{cause.filename or 'the workdir'}: {cause.strerror}"
        for text in ("No space left on device", "disk is full", "readonly database"):
            if text in str(cause):
                return f"the workdir cannot be written: {text}"
    return None


def _add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "data",
        help="photos to checked, split TFRecords",
        description="Reads and checks photos, splits them 70/15/15 by their pixels, and writes "
        "them as TFRecord shards: the first step of `run`, alone.",
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "photos",
        type=Path,
        metavar="PHOTOS",
        help="one folder of photos a class, or a CSV file with the columns path,label",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where spans go")
    parser.set_defaults(command=_data)


def _data(options: argparse.Namespace) -> int:
    from data.errors import DataError
    from data.ingest import ingest
    from pipeline.progress import chatter_to, counter, describe_records

    if not options.photos.exists():
        return _fail(f"{options.photos}: there is no such folder", Exit.USAGE)
    try:
        with chatter_to(Path(os.devnull)):
            ingested = ingest(options.photos, options.out, progress=counter("read"))
    except DataError as error:
        return _fail(error)
    print(describe_records(ingested))
    return Exit.DONE


def _add_predict(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "predict",
        help="the emotion on a photo",
        description="Says what the dog on each photo feels: the emotion and the probability of "
        "every class.",
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="any format that `run` reads")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a version, or a folder of versions, of which the newest is taken "
        "(default: the newest pushed by any run under runs/)",
    )
    where.add_argument(
        "--url", help="a server to ask instead, such as http://localhost:8501 (see `serve`)"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="also draw each photo with its probabilities (.png, .pdf or .svg)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='print a list of {"photo", "label", "probabilities"} or {"photo", "error"}',
    )
    parser.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> int:
    from data.errors import DataError
    from data.photos import PreparedPhoto, decode_photo, prepare_photo, read_photo
    from serving.answers import Answer, as_json, as_text
    from serving.errors import ModelError

    if options.plot is not None:
        from serving.figure import MAX_PHOTOS, draw_predictions, figure_format

        try:
            figure_format(options.plot)
        except ModelError as error:
            return _fail(error, Exit.USAGE)
        if len(options.photos) > MAX_PHOTOS:
            return _fail(f"--plot draws at most {MAX_PHOTOS} photos", Exit.USAGE)

    prepared: dict[str, PreparedPhoto | str] = {}
    for photo in options.photos:
        try:
            prepared[photo] = prepare_photo(read_photo(Path(photo)))
        except DataError as error:
            prepared[photo] = str(error)
    usable = {name: photo for name, photo in prepared.items() if not isinstance(photo, str)}
    try:
        predictions = {}
        if usable:
            answers = _predictor(options).predict([photo.jpeg for photo in usable.values()])
            predictions = dict(zip(usable, answers, strict=True))
        said: list[Answer] = [
            (name, predictions[name] if name in usable else str(prepared[name]))
            for name in options.photos
        ]
        print(as_json(said) if options.json else as_text(said, sys.stdout.encoding))
        if options.plot is not None and usable:
            draw_predictions(
                [
                    (decode_photo(photo.jpeg), Path(name).name, predictions[name])
                    for name, photo in usable.items()
                ],
                options.plot,
            )
            if not options.json:
                print(f"\nfigure: {options.plot}")
    except ModelError as error:
        return _fail(error)
    return Exit.DONE if len(usable) == len(prepared) else Exit.FAILED


def _predictor(options: argparse.Namespace) -> "Predictor | RemotePredictor":
    from serving.client import RemotePredictor
    from serving.predictor import Predictor, newest_model

    if options.url:
        return RemotePredictor(options.url)
    return Predictor(options.model or newest_model(RUNS))


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from data.features import MODEL_NAME

    parser = commands.add_parser(
        "serve",
        help="TF Serving's REST API and a page to try it, on any machine",
        description="Serves models by TF Serving's REST API, without TF Serving: the newest "
        "pushed one below runs/, or what the options name. New versions in the folder take over "
        "without a request lost. The options are those of tensorflow_model_server.",
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, this machine alone; 0.0.0.0 is everyone)",
    )
    parser.add_argument(
        "--rest_api_port",
        type=_number(0, 65535),
        default=8501,
        metavar="N",
        help="port to listen on (default: %(default)s); 0 takes any free one",
    )
    parser.add_argument(
        "--model_name", default=MODEL_NAME, metavar="NAME", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--model_base_path", type=Path, metavar="DIR", help="the folder of the model's versions"
    )
    parser.add_argument(
        "--model_config_file",
        type=Path,
        metavar="FILE",
        help="a text ModelServerConfig: several models, version policies and labels",
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
        type=_number(1, 1024),
        default=8,
        metavar="N",
        help="requests that are worked on at once (default: %(default)s)",
    )
    parser.add_argument(
        "--rest_api_timeout_in_ms",
        type=_number(1, 2**31 - 1),
        default=30_000,
        metavar="N",
        help="milliseconds that a model may take for a request (default: %(default)s)",
    )
    parser.add_argument(
        "--file_system_poll_wait_seconds",
        type=_number(1, 2**31 - 1),
        default=1,
        metavar="N",
        help="seconds between two looks for new versions (default: %(default)s)",
    )
    parser.set_defaults(command=_serve)


def _add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "check",
        help="whether TF Serving could serve a model",
        description="Looks at a SavedModel as TF Serving would: its signatures and operations, "
        "whether TensorFlow's C++ loads a copy of it elsewhere, and its warm-up requests.",
        epilog=_EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL_DIR",
        help="a version, or a folder of versions, of which the newest is taken",
    )
    parser.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from serving.errors import ModelError
    from serving.predictor import find_version
    from serving.quiet_tensorflow import import_tensorflow

    import_tensorflow()
    from serving.export_check import check_export

    try:
        version = find_version(options.model)
    except ModelError as error:
        return _fail(error)
    print(version)
    problems = 0
    for check in check_export(version):
        print(f"  {'no ' if check.problems else 'yes'}  {check.name}", flush=True)
        for problem in check.problems:
            print(f"         {problem}", flush=True)
        problems += len(check.problems)
    return Exit.FAILED if problems else Exit.DONE


def _number(least: int, most: int) -> Callable[[str], int]:
    """A type for argparse."""

    def integer(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no integer") from None
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text} should be from {least} to {most}")
        return number

    return integer


def _serve(options: argparse.Namespace) -> int:
    from serving.errors import ModelError, ServerError
    from serving.quiet_tensorflow import import_tensorflow

    try:
        batching = _batching(options)
        models = _models_to_serve(options)
    except (ModelError, ServerError) as error:
        return _fail(error, Exit.USAGE)
    import_tensorflow()
    from serving.server import EmbeddedServer, ServerOptions

    try:
        server = EmbeddedServer(
            ServerOptions(
                models=models,
                host=options.host,
                rest_api_port=options.rest_api_port,
                rest_api_num_threads=options.rest_api_num_threads,
                rest_api_timeout_in_ms=options.rest_api_timeout_in_ms,
                file_system_poll_wait_seconds=options.file_system_poll_wait_seconds,
                batching=batching,
            ),
            announce=lambda line: print(line, flush=True),
        )
    except ServerError as error:
        return _fail(error)
    try:
        server.run()
    except KeyboardInterrupt:
        _complain("stopped")
        return Exit.INTERRUPTED
    return Exit.DONE


def _models_to_serve(options: argparse.Namespace) -> "list[ModelConfig]":
    from serving.config_files import ModelConfig, read_models
    from serving.errors import ServerError
    from serving.predictor import newest_model

    if options.model_config_file and options.model_base_path:
        raise ServerError("--model_config_file names the models: leave out --model_base_path")
    if options.model_config_file:
        models = read_models(options.model_config_file)
    else:
        base_path = options.model_base_path or newest_model(RUNS).parent
        models = [ModelConfig(options.model_name, base_path.absolute())]
    for model in models:
        if not model.base_path.is_dir():
            raise ServerError(f"{model.base_path} is not a folder: name a model's base path")
    return models


def _batching(options: argparse.Namespace) -> "BatchingParameters | None":
    from serving.config_files import default_batching, read_batching
    from serving.errors import ServerError

    if not options.enable_batching:
        if options.batching_parameters_file:
            raise ServerError("--batching_parameters_file needs --enable_batching")
        return None
    if options.batching_parameters_file:
        return read_batching(options.batching_parameters_file)
    return default_batching()


def _fail(error: object, status: Exit = Exit.FAILED) -> int:
    _complain(error)
    return status


def _complain(message: object) -> None:
    print(f"dog-emotion: {message}", file=sys.stderr, flush=True)
