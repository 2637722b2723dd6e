"""Photos to the page about them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.model.settings import ModelSettings
from data.contract.errors import UsageError, UserError
from data.contract.progress import tenths
from data.folder import require_apart, show
from data.survey import survey
from pipeline.audit.findings import Findings, find_out
from pipeline.audit.page import make_page
from pipeline.audit.pictures import find_doubts, find_padded
from pipeline.workdir import require_plain


def audit(
    source: Path, out: Path, *, model: ModelSettings, beam_options: Sequence[str]
) -> Findings:
    """Writes the page about the photos of a source; tells the progress on standard output.

    No photo, however bad, stops it, nor do too few of them.

    Args:
        source: class folders, or a CSV table of path,label.
        out: the page, complete or as it was before; prepared photos lie beside it for as long as
            this takes.
        model: the backbone whose ImageNet head looks for dogs, and its weights.
        beam_options: of a runner whose workers see both folders.

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
    try:
        with tempfile.TemporaryDirectory(prefix=".audit-", dir=folder) as temporary:
            prepared = Path(temporary, "prepared")
            prepared.mkdir()
            surveyed = survey(source, prepared, progress=tenths("read"), beam_options=beam_options)
            usable = [fact for fact in surveyed.facts if not fact.reason]
            findings = find_out(
                surveyed.facts,
                find_padded(usable),
                find_doubts(usable, model.backbone, model.weights, tenths("judged")),
            )
            unfinished = Path(temporary, "page.html")
            unfinished.write_text(make_page(findings, show(source)), encoding="utf-8")
            unfinished.replace(out)
    except OSError as error:
        raise UserError(
            f"--out {out} cannot be written: {error.strerror or error}; name a file elsewhere"
        ) from error
    return findings
