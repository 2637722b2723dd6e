"""Two runs to the page that compares them: bounded, however many photos there are."""

from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from components.pages.rendering import render
from components.pages.thumbnails import thumbnail
from components.report.records import find_photos
from components.report.shown import Photo
from data.contract.errors import UsageError, UserError
from pipeline.report.differences import (
    Flip,
    changes,
    compare_answers,
    compare_data,
    compare_figures,
    setting_changes,
)
from pipeline.report.runs import Run, read_run
from pipeline.workdir import write_atomically

TEMPLATE = Path(__file__).with_name("comparison.html")

FLIPS = 48
"""Photos shown of each kind."""
ROWS = 100
"""Of each table."""


def compare(before: Path, after: Path, out: Path) -> None:
    """Writes the page.

    Args:
        before: a run's folder or a version that one has pushed, as for `read_run`.
        after: the same of the other run.
        out: the page, complete or as it was before.

    Raises:
        UserError: one of them cannot be read, or `out` cannot be written.
    """
    folder = out.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--out {out}: there is no folder {folder}")
    if out.is_dir():
        raise UsageError(f"--out {out}: it is a folder; name a file")
    page = make_page(read_run(before), read_run(after))
    try:
        write_atomically(out, page)
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written: {error.strerror or error}; name a file elsewhere"
        ) from error


def make_page(before: Run, after: Run) -> str:
    """The page that compares two runs."""
    paired = compare_answers(before, after)
    photos: dict[str, Photo] = {}
    if paired is not None:
        shown = {flip.sha256 for flip in (*paired.gained[:FLIPS], *paired.lost[:FLIPS])}
        photos = find_photos(after.test_records, shown)
    return render(
        TEMPLATE,
        before=before,
        after=after,
        rows=ROWS,
        flips=FLIPS,
        figures=compare_figures(before, after),
        data=compare_data(before, after),
        same_records=before.manifest_sha256 == after.manifest_sha256,
        settings=setting_changes(before.settings, after.settings),
        code=[change.name for change in changes(before.code, after.code)],
        versions=changes(before.versions, after.versions),
        paired=paired,
        image=lambda flip: _image(flip, photos),
        number=format,
    )


def _image(flip: Flip, photos: Mapping[str, Photo]) -> Markup | None:
    photo = photos.get(flip.sha256)
    return None if photo is None else thumbnail(photo.jpeg)
