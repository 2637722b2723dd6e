"""What people said of answers on the server's page, as photos under review."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from data.contract.feedback import Feedback
from data.folder import LabelledPhoto, show
from data.relabels import Relabel
from pipeline.review.photos import Photo


def as_photos(feedback: Sequence[Feedback], folder: Path) -> dict[Photo, LabelledPhoto]:
    """Feedback as photos that the records do not hold, labelled as people said, and their files.

    Args:
        feedback: what was said.
        folder: where it is.
    """
    found = {}
    for each in feedback:
        file = folder / each.photo
        why = f"sent to the page, where version {each.version} said {each.label}; "
        right = each.correction == each.label
        why += "someone says that is right" if right else f"someone says {each.correction}"
        name = show(Path(folder.name, each.photo))
        photo = Photo(name, each.correction, each.sha256, group=each.sha256, conflict=why)
        found[photo] = LabelledPhoto(file, photo.name, photo.label)
    return found


def decided(rows: Mapping[str, Relabel], classes: Collection[str], sha256: str) -> str | None:
    """The label of a photo as decided, empty to leave it out; None if nobody has decided.

    Args:
        rows: the decisions in force, by the hash of the photo.
        classes: that there are; a decision for another asks for a new one.
        sha256: the hash of the photo.
    """
    row = rows.get(sha256)
    if row is None or row.is_undo or (row.to and row.to not in classes):
        return None
    return row.to
