import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data.contract import features
from data.contract.errors import UserError
from data.drawn_dogs import draw_photo
from pipeline.report.comparison import compare, make_page
from pipeline.workdir import Workdir
from tests.browser import chromium, emulate, needs_chromium, number, shoot
from tests.pipeline.report.conftest import NewRun

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def records(tmp_path: Path) -> tuple[str]:
    """Test photos with the names that made-up evaluations give them."""
    file = str(tmp_path / "test.tfrecord.gz")
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(file, "GZIP") as writer:
        for number in range(200):
            values = {
                features.IMAGE: draw_photo("happy", random),
                features.FILENAME: f"{number}.jpg".encode(),
                features.SHA256: f"{number:064x}".encode(),
            }
            feature = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for key, value in values.items()
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return (file,)


def words(page: str) -> str:
    body = re.sub(r"<(style|title)>.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body))).strip()


def other(new_run: NewRun, records: tuple[str], **values: object) -> object:
    """A run over the same photos, whose model answers some of them otherwise."""
    run = new_run("after", **values)
    predicted = run.predictions.predicted.copy()
    predicted[:40] = (predicted[:40] + 1) % 4
    predictions = run.predictions.__class__(**{**vars(run.predictions), "predicted": predicted})
    return run.__class__(**{**vars(run), "predictions": predictions, "test_records": records})


def test_the_page_says_what_changed_and_shows_which_photos_flipped(
    new_run: NewRun, records: tuple[str]
) -> None:
    before = new_run()
    after = other(
        new_run,
        records,
        settings={"training": {"seed": 5}, "classes": list(before.classes)},
        code={"Trainer": "b"},
        versions={"tfx": "2.0"},
    )
    page = make_page(before, after)  # type: ignore[arg-type]
    said = words(page)
    assert "Of the 200 test photos that both have" in said
    assert "training.seed 0 5" in said
    assert "The code of these nodes differs: Trainer." in said
    assert "tfx 1.0 2.0" in said
    assert "The same records: span 1" in said
    lost = said.partition("Right before, wrong now")[2]
    assert "A: " in lost
    flips = len(re.findall(r"A: \w+", said))
    assert flips == page.count("data:image/webp")
    assert flips > 20


def test_the_same_run_twice_differs_in_nothing(new_run: NewRun) -> None:
    run = new_run()
    said = words(make_page(run, run))
    assert "Settings The same." in said
    assert "The code of the nodes is the same." in said
    assert "So are the libraries." in said
    assert "do not show which is better" in said


def test_runs_without_a_photo_in_common_are_said_to_be_so(new_run: NewRun) -> None:
    before, after = new_run(), new_run("after", photos=50)
    renamed = tuple(f"other-{sha256}" for sha256 in after.predictions.photos)
    predictions = after.predictions.__class__(**{**vars(after.predictions), "photos": renamed})
    after = after.__class__(**{**vars(after), "predictions": predictions, "photos": None})
    after = after.__class__(**{**vars(after), "manifest_sha256": "other", "span": 2})
    said = words(make_page(before, after))
    assert "no test photo in common" in said
    assert "what changed in them is not known" in said


def test_nothing_in_a_name_is_taken_for_html(new_run: NewRun) -> None:
    classes = ("calm", HOSTILE)
    before = new_run(HOSTILE.replace("/", ""), classes=classes, filename="{number}" + HOSTILE)
    after = new_run("after", classes=classes, seed=1, filename="{number}" + HOSTILE)
    assert "<script" not in make_page(before, after)


@pytest.mark.parametrize("photos", [606, 6_000])
def test_the_page_is_small_however_many_photos_flip(
    new_run: NewRun, records: tuple[str], photos: int
) -> None:
    after = other(new_run, records, photos=photos)
    page = make_page(new_run(photos=photos), after)  # type: ignore[arg-type]
    assert len(page.encode()) < 1_000_000


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("nowhere", "nowhere"), "nowhere is no folder of a run, nor a version"),
        (("photos", "photos"), "photos is no folder of a run, nor a version"),
    ],
)
def test_what_is_no_run_is_named(tmp_path: Path, names: tuple[str, str], message: str) -> None:
    (tmp_path / "photos").mkdir()
    before, after = (tmp_path / name for name in names)
    with pytest.raises(UserError, match=message):
        compare(before, after, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_a_run_that_has_not_come_so_far_is_named(tmp_path: Path) -> None:
    from tfx.orchestration.metadata import Metadata, sqlite_metadata_connection_config

    with Metadata(sqlite_metadata_connection_config(str(Workdir(tmp_path).metadata))):
        pass
    with pytest.raises(UserError, match="no run has begun there"):
        compare(tmp_path, tmp_path, tmp_path / "out.html")


@pytest.mark.parametrize(
    ("out", "message"), [("a/b.html", "there is no folder"), (".", "a folder")]
)
def test_a_page_that_cannot_be_written_is_named_at_once(
    tmp_path: Path, out: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        compare(tmp_path, tmp_path, tmp_path / out)


@needs_chromium
def test_nothing_sticks_out_of_a_phone_or_a_window(
    new_run: NewRun, records: tuple[str], tmp_path: Path
) -> None:
    file = tmp_path / "comparison.html"
    page = make_page(new_run(), other(new_run, records))  # type: ignore[arg-type]
    file.write_text(page, encoding="utf-8")
    with chromium(tmp_path / "profile") as driver:
        driver.get(file.as_uri())
        for width in (390, 1200):
            emulate(driver, width)
            assert number(driver, "document.documentElement.scrollWidth") <= width
            shoot(driver, f"comparison-{width}")
        assert not driver.get_log("browser")  # type: ignore[no-untyped-call]
