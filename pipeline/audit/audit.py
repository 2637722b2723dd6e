"""Photos to the page about them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.model.settings import ModelSettings
from data.audit import Fact, check_classes, check_rejects, count_photos
from data.contract.errors import UsageError, UserError
from data.contract.progress import tenths
from data.errors import DataError
from data.folder import find_photos, list_photos, require_apart, show
from data.relabels import read_decisions
from data.survey import survey
from pipeline.audit.findings import Findings, find_out
from pipeline.audit.page import make_page
from pipeline.audit.pictures import find_doubts, find_padded
from pipeline.config import DataSettings
from pipeline.workdir import require_plain


def audit(
    source: Path,
    out: Path,
    *,
    data: DataSettings,
    model: ModelSettings,
    beam_options: Sequence[str],
) -> Findings:
    """Writes the page about the photos of a source, and tells the progress on standard output.

    No photo, however bad, stops it, nor do too few of them.

    Args:
        source: class folders, or a CSV table of path,label.
        out: the page, complete or as it was before. Prepared photos lie beside it meanwhile.
        data: where decisions about labels are, and how many rejected photos a run would take.
        model: the backbone whose ImageNet head looks for dogs, and its weights.
        beam_options: of a runner whose workers see the photos and the folder of `out`.

    Raises:
        UserError: there are no photos, or `out` cannot be written.
    """
    folder = out.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--out {out}: there is no folder {folder}")
    if out.is_dir():
        raise UsageError(f"--out {out}: it is a folder; name a file")
    require_plain("--out", folder)
    require_apart(folder, source)
    photos = find_photos(source)
    relabels = read_decisions(source, data.relabels).rows
    try:
        with tempfile.TemporaryDirectory(prefix=".audit-", dir=folder) as temporary:
            prepared = Path(temporary, "prepared")
            prepared.mkdir()
            surveyed = survey(
                photos,
                prepared,
                relabels=relabels,
                splits={},
                progress=tenths("read"),
                beam_options=beam_options,
            )
            facts = surveyed.facts
            usable = [fact for fact in facts if not fact.reason]
            findings = find_out(
                facts,
                find_padded(usable, tenths("measured")),
                find_doubts(usable, model.backbones[0], model.weights, tenths("judged")),
                refusal=_refusal(source, facts, data.max_reject_share),
                radius=surveyed.radius,
            )
            unfinished = Path(temporary, "page.html")
            unfinished.write_text(make_page(findings, show(source)), encoding="utf-8")
            unfinished.replace(out)
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written: {error.strerror or error}; name a file elsewhere"
        ) from error
    return findings


def _refusal(source: Path, facts: Sequence[Fact], max_reject_share: float) -> str:
    """Why ingestion would refuse these photos; empty if it would not."""
    try:
        classes = {photo.label for photo in list_photos(source)}
        check_rejects(facts, max_reject_share)
        check_classes(sorted(classes), count_photos([fact for fact in facts if fact.is_used]))
    except DataError as error:
        return str(error)
    return ""
