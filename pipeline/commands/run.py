"""`run`: photos to a model."""

import argparse
import errno
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.beam import causes
from data.contract.errors import Exit, UsageError, UserError
from pipeline.commands.common import (
    PHOTOS,
    RUNS,
    add_command,
    add_configuration,
    complain,
    configuration,
    require_there,
)
from pipeline.commands.production import promote_pushed

if TYPE_CHECKING:
    from pipeline.commands.common import Commands
    from pipeline.config import Config
    from pipeline.workdir import Workdir

_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def add_run(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "run",
        help="photos to a gated, pushed model",
        description="Photos to TFRecords to a trained, evaluated and, if the gate lets it through, "
        "pushed model. Without --photos, drawn dog faces stand in. Another run in the same folder "
        "takes unchanged steps from the cache, and its model must not be worse than the last.",
    )
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help=PHOTOS,
    )
    add_configuration(parser, "demo, photos; default: photos with --photos, else demo")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="search better settings first, and train with them; `tuned.toml` in the workdir "
        "keeps them for --config (the same as --set training.tune=true)",
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="where everything goes (default: runs/PROFILE, the first one)",
    )
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from data.folder import require_apart
    from pipeline.workdir import Workdir

    options.default_profiles = ["photos" if options.photos else "demo"]
    profile = (options.profiles or options.default_profiles)[0]
    if options.tune:
        options.overrides.append("training.tune=true")
    config = configuration(options)
    if profile == "photos" and options.photos is None:
        raise UsageError("--profile photos needs --photos DIR")
    workdir = Workdir((options.workdir or RUNS / profile).absolute())
    workdir.require_usable()
    if options.photos is not None:
        require_there("--photos ", options.photos)
        require_apart(workdir.root, options.photos)
    print(f"workdir   {workdir.root}", flush=True)
    with workdir.locked():
        return _run_in(workdir, config, options.photos)


def _run_in(workdir: "Workdir", config: "Config", photos: Path | None) -> int:
    from pipeline.beam_args import prepared_workers
    from pipeline.live_line import live_line
    from pipeline.progress import chatter_to

    try:
        with chatter_to(workdir.log), prepared_workers(config.beam), live_line() as line:
            try:
                print("starting  TensorFlow and TFX", flush=True)
                from pipeline.local_runner import run_locally
                from pipeline.summary import as_text

                summary = run_locally(config, workdir, photos, line)
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:
        raise _in_our_words(error, workdir) from error
    print(as_text(summary))
    print(f"report    {workdir.report}\ncurves    {workdir.curves}\nmetrics   {workdir.metrics}")
    if summary.tuned is not None:
        print(f"tuned     {workdir.tuned}, for --config:\n\n{summary.tuned}")
    if summary.model is None:
        complain("the gate blocked the model; nothing was pushed")
        return Exit.BLOCKED
    print(f"model     {summary.model}\npredict   dog-emotion predict --model {summary.model} PHOTO")
    if config.serving.promote:
        promote_pushed(workdir, int(summary.model.name))
    return Exit.DONE


def _in_our_words(error: Exception, workdir: "Workdir") -> BaseException:
    """What a failed run ends with: an error that says why in one line, or the interruption."""
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes(error)):
        return KeyboardInterrupt()  # Beam turns it into an error of its own
    if isinstance(error, UserError):
        return error
    if cause := _storage_problem(error):
        return UserError(f"{cause}; make room or name another --workdir, then run again")
    reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
    return UserError(f"{reason[:300]} (in full: {workdir.log})")


def _storage_problem(error: BaseException) -> str | None:
    """The words for a full or unwritable disk, if that is what is behind an error.

    TensorFlow, MLMD and Beam wrap the system's error and keep only its text.
    """
    for cause in causes(error):
        if isinstance(cause, OSError) and cause.errno in _STORAGE_ERRORS:
            return f"{cause.filename or 'the workdir'}: {cause.strerror}"
        for text in ("No space left on device", "disk is full", "readonly database"):
            if text in str(cause):
                return f"the workdir cannot be written: {text}"
    return None
