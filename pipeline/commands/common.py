"""What the commands share: how they are added, how they complain and how they end."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import UsageError
from data.contract.labels import STABLE

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.workdir import Workdir

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

RUNS = Path("runs")
"""Where runs go, and where the newest model is looked for."""


EXIT_STATUS = """\
Exit status: 0 done, 1 failed, 2 wrong usage or configuration,
3 the gate blocked the model, 130 interrupted.
"""


def add_command(
    commands: "Commands", name: str, *, help: str, description: str
) -> argparse.ArgumentParser:
    """Adds one command, with the exit statuses in its help."""
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_configuration(
    parser: argparse.ArgumentParser, profiles: str, *, default: list[str] | None = None
) -> None:
    """Adds the options that `configuration` reads.

    Args:
        parser: the command's.
        profiles: which profiles suit it, in the words of its help.
        default: the profiles if none is named.
    """
    parser.add_argument(
        "--profile",
        action="append",
        dest="profiles",
        metavar="NAME",
        help="the defaults to start from; repeatable, each is laid over those before it "
        f"({profiles})",
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
    parser.set_defaults(default_profiles=default or [])


def configuration(options: argparse.Namespace) -> "Config":
    """The configuration that the options of `add_configuration` amount to.

    Raises:
        ConfigError: the message names the key, the value and the fix.
    """
    from pipeline.config import load_config

    profiles = options.profiles or options.default_profiles
    return load_config(*profiles, file=options.config, overrides=options.overrides)


PHOTOS = "one folder of photos per class, or a CSV file with the columns path,label"


def add_photos(parser: argparse.ArgumentParser, *, nargs: str | None = None) -> None:
    """Adds the argument PHOTOS."""
    parser.add_argument("photos", type=Path, metavar="PHOTOS", nargs=nargs, help=PHOTOS)


def add_photos_with_workdir(parser: argparse.ArgumentParser, workdir: str) -> None:
    """Adds what `photos_workdir` reads.

    Args:
        parser: the command's.
        workdir: what the folder is, in the words of its help.
    """
    add_photos(parser)
    parser.add_argument(
        "--workdir",
        type=Path,
        default=RUNS / "photos",
        metavar="DIR",
        help=f"{workdir} (default: %(default)s)",
    )


def photos_workdir(options: argparse.Namespace) -> "Workdir":
    """The folder of the runs on PHOTOS; both are found to be usable, and apart.

    Raises:
        UserError: they are not.
    """
    from data.folder import require_apart
    from pipeline.workdir import Workdir

    require_there("", options.photos)
    workdir = Workdir(options.workdir.absolute())
    workdir.require_usable()
    require_apart(workdir.root, options.photos)
    return workdir


def add_past_workdir(parser: argparse.ArgumentParser) -> None:
    """Adds the option that `past_workdir` reads."""
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="that of `run` (default: the folder under runs/ that was used last)",
    )


def past_workdir(named: Path | None) -> "Workdir":
    """The folder in which something has run: the one named, or the one under runs/ used last.

    Raises:
        UsageError: nothing has run there.
    """
    from pipeline.workdir import Workdir

    if named is not None:
        workdir = Workdir(named.absolute())
        if not workdir.metadata.is_file():
            raise UsageError(f"--workdir {named}: nothing has run there; name that of a run")
        return workdir
    found = [each for folder in RUNS.glob("*") if (each := Workdir(folder)).metadata.is_file()]
    if not found:
        raise UsageError(f"nothing has run under {RUNS}/: name a folder by --workdir")
    newest = max(found, key=lambda workdir: workdir.metadata.stat().st_mtime)
    return Workdir(newest.root.absolute())


def served_version(workdir: "Workdir") -> str | None:
    """The version that is served now: what is stable, or the newest complete one where nothing was
    ever promoted, as servers take it."""
    from pipeline.production.production import Production
    from serving.asking.errors import ModelError
    from serving.asking.pushed import find_version

    if (labels := Production(workdir).labels) is not None:
        return str(labels[STABLE]) if STABLE in labels else None
    try:
        return find_version(workdir.serving).name
    except ModelError:
        return None


def require_there(option: str, photos: Path) -> None:
    """Refuses photos that cannot be found, before anything slow begins.

    Args:
        option: what named them, as in `--photos `; empty for a positional argument.
        photos: the folder or table.

    Raises:
        UsageError: the message names them.
    """
    try:
        photos.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{option}{photos}: there is no such folder") from None
    except OSError as error:
        raise UsageError(f"{option}{photos}: {error.strerror}") from None


def complain(message: object) -> None:
    """Prints a message on standard error, under the program's name."""
    print(f"dog-emotion: {message}", file=sys.stderr, flush=True)


def number(least: int, most: int) -> Callable[[str], int]:
    """An argparse type: an integer from `least` to `most`."""

    def integer(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text} should be from {least} to {most}")
        return number

    return integer
