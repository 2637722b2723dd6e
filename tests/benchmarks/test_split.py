import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from benchmarks.split import write_split
from data.contract import features
from data.drawn_dogs import draw_dataset
from data.ingest import ingest


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn dogs, one of them twice."""
    folder = tmp_path_factory.mktemp("photos") / "dogs"
    draw_dataset(folder, per_class=24, seed=0)
    shutil.copyfile(folder / "sad" / "sad-0000.jpg", folder / "sad" / "copy.jpg")
    return folder


def test_every_record_is_a_file_of_its_split_and_class(photos: Path, tmp_path: Path) -> None:
    split = write_split(photos, tmp_path / "data", tmp_path / "split")
    written = {
        (file.relative_to(split).as_posix(), file.read_bytes()) for file in split.rglob("*.jpg")
    }
    span = ingest(photos, tmp_path / "data").span_dir
    wanted = set()
    for name in features.SPLITS:
        files = [str(file) for file in span.glob(f"{name}-*.tfrecord.gz")]
        for record in tf.data.TFRecordDataset(files, compression_type="GZIP"):
            values = tf.train.Example.FromString(record.numpy()).features.feature
            image, label, sha256 = (
                values[key].bytes_list.value[0]
                for key in (features.IMAGE, features.LABEL, features.SHA256)
            )
            file = f"{name}/{label.decode()}/{sha256.decode()}.jpg"
            while (file, image) in wanted:
                file = file.replace(".jpg", "-2.jpg")
            wanted.add((file, image))
    assert written == wanted
    assert len(written) == 4 * 24 + 1
    assert len([file for file, _ in written if file.endswith("-2.jpg")]) == 1


def test_a_finished_split_is_left_alone(photos: Path, tmp_path: Path) -> None:
    split = write_split(photos, tmp_path / "data", tmp_path / "split")
    (kept,) = sorted(split.rglob("*.jpg"))[:1]
    kept.write_bytes(b"")
    write_split(photos, tmp_path / "data", split)
    assert kept.read_bytes() == b""
