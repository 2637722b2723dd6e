"""`why`: where a version came from, or what was made of a photo."""

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.contract.errors import Exit, UsageError
from pipeline.commands.common import add_command, add_past_workdir, past_workdir, served_version

if TYPE_CHECKING:
    from pipeline.commands.common import Commands
    from pipeline.lineage.photo import Opinion
    from pipeline.workdir import Workdir

ASKED = 10
"""Versions, at most, that are asked about a photo: each is loaded in turn."""


def add_why(commands: "Commands") -> None:
    parser = add_command(
        commands,
        "why",
        help="where a version came from, or what was made of a photo",
        description="Follows a version that a run has pushed back to the span that it was made "
        "of, with the hash of its manifest, the corrections, settings, code and weights, and says "
        "what it measured, against which version, and what the gate said. Of a photo, says which "
        "spans hold it, in which split and under which label, what was decided about the label, "
        f"which training photos are most like it, and what the newest versions, {ASKED} at most, "
        "say of it.",
    )
    parser.add_argument(
        "what", metavar="VERSION|PHOTO", help="a number that `history` lists, or a file"
    )
    add_past_workdir(parser)
    parser.add_argument("--json", action="store_true", help="print the same as a JSON object")
    parser.set_defaults(command=_why)


def _why(options: argparse.Namespace) -> int:
    photo = Path(options.what)
    if photo.is_file():
        said, text = _of_photo(photo, past_workdir(options.workdir))
    elif options.what.isdecimal():
        said, text = _of_version(options.what, past_workdir(options.workdir))
    else:
        raise UsageError(
            f"{options.what!r} is no file and no version: name a photo, or a number that "
            "`history` lists"
        )
    print(json.dumps(said, indent=2) if options.json else text)
    return Exit.DONE


def _of_version(version: str, workdir: "Workdir") -> tuple[dict[str, Any], str]:
    from pipeline.lineage.version import as_json, as_text, find_origin
    from pipeline.outputs import open_store

    store = open_store(workdir.metadata)
    origin = find_origin(workdir, store, version, served_version(workdir))
    return as_json(origin), as_text(origin)


def _of_photo(photo: Path, workdir: "Workdir") -> tuple[dict[str, Any], str]:
    from data.errors import DataError
    from data.photos import prepare_photo, read_photo
    from pipeline.lineage.history import read_history
    from pipeline.lineage.photo import (
        PhotoFacts,
        as_json,
        as_text,
        find_decision,
        find_nearest,
        find_sightings,
    )
    from pipeline.outputs import open_store
    from pipeline.progress import chatter_to

    try:
        content = read_photo(photo)
        jpeg = prepare_photo(content).jpeg
    except DataError as error:
        raise UsageError(f"{photo}: {error}; name a photo that `run` could read") from error
    sha256 = hashlib.sha256(content).hexdigest()
    store, served = open_store(workdir.metadata), served_version(workdir)
    sightings, untold = find_sightings(workdir, read_history(store, served), sha256)
    with chatter_to(Path(os.devnull)):
        facts = PhotoFacts(
            photo=str(photo),
            sha256=sha256,
            sightings=tuple(sightings),
            spans_without_tables=tuple(untold),
            decision=find_decision(workdir, sha256),
            nearest=find_nearest(workdir, store, served, sha256, jpeg),
            opinions=tuple(_opinions(workdir, jpeg)),
        )
    return as_json(facts), as_text(facts)


def _opinions(workdir: "Workdir", jpeg: bytes) -> "list[Opinion]":
    """What each of the newest versions says, the newest first."""
    from pipeline.lineage.photo import Opinion
    from serving.asking.errors import ModelError
    from serving.asking.predictor import Predictor
    from serving.asking.pushed import complete_versions

    found = []
    versions = sorted(
        complete_versions(workdir.serving.glob("*")), key=lambda each: int(each.name), reverse=True
    )
    for version in versions[:ASKED]:
        try:
            (said,) = Predictor(version).predict([jpeg])
            found.append(Opinion(version.name, said.answer, said.probabilities))
        except ModelError as error:
            found.append(Opinion(version.name, str(error), None))
    return found
