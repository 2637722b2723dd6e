"""The command line. Heavy imports wait for the command that needs them."""

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.workdir import Workdir

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
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a version, or a folder of versions, of which the newest is taken "
        "(default: the newest pushed by any run under runs/)",
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
    from serving.predictor import Predictor, newest_model

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
            predictor = Predictor(options.model or newest_model(RUNS))
            answers = predictor.predict([photo.jpeg for photo in usable.values()])
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


def _fail(error: object, status: Exit = Exit.FAILED) -> int:
    _complain(error)
    return status


def _complain(message: object) -> None:
    print(f"dog-emotion: {message}", file=sys.stderr, flush=True)
