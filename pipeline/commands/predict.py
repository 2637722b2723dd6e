"""`predict`: the emotion in a photo."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from data.contract.errors import Exit, UsageError
from pipeline.commands.common import RUNS, add_command

if TYPE_CHECKING:
    from pipeline.commands.common import Commands
    from serving.asking.client import RemotePredictor
    from serving.asking.predictor import Predictor


def add_predict(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "predict",
        help="the emotion in a photo",
        description="Says what the dog in each photo feels: the emotion and the probability of "
        "every class; `not sure` if such answers were not shown to be right often enough, or "
        "`no dog here`.",
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="any format that `run` reads")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a version, or a folder of versions, the newest of which is taken "
        "(default: the newest pushed by any run under runs/)",
    )
    where.add_argument(
        "--url", help="a server to ask instead, such as http://localhost:8501 (see `serve`)"
    )
    parser.add_argument(
        "--label", help="with --url, the label of the version to ask: stable or canary"
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="also draw each photo with its probabilities, and what in it speaks for the "
        "likeliest class (.png, .pdf or .svg)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='print a list of {"photo", "label", "probabilities"} or {"photo", "error"}, with '
        '"certain" and "dog" if the model tells',
    )
    parser.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> int:
    from data.errors import DataError
    from data.photos import PreparedPhoto, decode_photo, prepare_photo, read_photo
    from serving.asking.answers import Answer, as_json, as_text

    if options.label is not None and not options.url:
        raise UsageError(f"--label {options.label} is for a server: name it by --url")
    if options.plot is not None:
        from serving.asking.figure import MAX_PHOTOS, Item, draw_predictions, figure_format

        figure_format(options.plot)
        if len(options.photos) > MAX_PHOTOS:
            raise UsageError(f"--plot draws at most {MAX_PHOTOS} photos")

    prepared: dict[str, PreparedPhoto | str] = {}
    for photo in options.photos:
        try:
            prepared[photo] = prepare_photo(read_photo(Path(photo)))
        except DataError as error:
            prepared[photo] = str(error)
    usable = {name: photo for name, photo in prepared.items() if not isinstance(photo, str)}
    jpegs = [photo.jpeg for photo in usable.values()]
    predictions = {}
    if usable:
        model = _model(options)
        predictions = dict(zip(usable, model.predict(jpegs), strict=True))
    said: list[Answer] = [
        (name, predictions[name] if name in usable else str(prepared[name]))
        for name in options.photos
    ]
    print(as_json(said) if options.json else as_text(said, sys.stdout.encoding))
    if options.plot is not None and usable:
        evidence = model.explain(jpegs)
        items = [
            Item(
                decode_photo(photo.jpeg),
                Path(name).name,
                predictions[name],
                evidence[index] if evidence else None,
            )
            for index, (name, photo) in enumerate(usable.items())
        ]
        draw_predictions(items, options.plot)
        if not options.json:
            print(f"\nfigure: {options.plot}")
    return Exit.DONE if len(usable) == len(prepared) else Exit.FAILED


def _model(options: argparse.Namespace) -> "Predictor | RemotePredictor":
    from serving.asking.client import RemotePredictor
    from serving.asking.predictor import Predictor
    from serving.asking.pushed import newest_model

    if options.url:
        return RemotePredictor(options.url, options.label)
    return Predictor(options.model or newest_model(RUNS))
