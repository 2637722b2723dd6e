"""The ingested photos as class folders, so that every peer trains on the same split."""

import argparse
import shutil
from pathlib import Path

from data.errors import DataError
from data.ingest import ingest
from data.records import read_records


def write_split(photos: Path, data: Path, folder: Path) -> Path:
    """Writes `<split>/<class>/<sha256>.jpg` for every photo that a run would use.

    A photo that occurs more than once, with the same label, is a file each time; from the second
    on, the hash is followed by `-2`, `-3` and so on.

    Args:
        photos: class folders, as `dog-emotion run --photos` takes them.
        data: the folder of spans that the photos are ingested into, or have been.
        folder: where the split goes; one that exists is taken to be complete.

    Returns:
        `folder`.

    Raises:
        DataError: the photos cannot be used.
    """
    span = ingest(photos, data).span_dir
    if folder.exists():
        return folder
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for record in read_records(span):
        photo = unfinished / record.split / record.label / f"{record.sha256}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        copies = len(list(photo.parent.glob(f"{photo.stem}*.jpg")))
        if copies:
            photo = photo.with_stem(f"{photo.stem}-{copies + 1}")
        photo.write_bytes(record.jpeg)
    unfinished.rename(folder)
    return folder


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="class folders")
    parser.add_argument("data", type=Path, help="where the ingest puts its spans")
    parser.add_argument("folder", type=Path, help="where the split goes")
    options = parser.parse_args()
    try:
        write_split(options.photos, options.data, options.folder)
    except DataError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
