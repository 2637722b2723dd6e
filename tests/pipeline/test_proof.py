import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.model.settings import ModelSettings
from data import spans
from data.contract.errors import Exit
from data.errors import DataError
from data.ingest import ingest
from data.photos import Pixels
from pipeline.cli import main
from pipeline.proof import Proof, as_text, count_spanning, find_spans, prove

Draw = Callable[[int], Pixels]

LITE = ModelSettings(backbone="efficientnet_lite0", weights="imagenet")


def augment(image: Pixels, rng: np.random.Generator) -> Pixels:
    """As a notebook does it before it splits: mirrored or not, cropped, brighter or darker."""
    top, left = rng.integers(0, 8, 2)
    cropped = image[top : top + 190, left : left + 230, ::1]
    mirrored = cropped[:, ::-1] if rng.random() < 0.5 else cropped
    return np.clip(mirrored * rng.uniform(0.8, 1.2), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def augmented(tmp_path_factory: pytest.TempPathFactory, draw_scene: Draw) -> Path:
    """Records of 120 scenes, four photos of each, labelled by the toss of a coin for each scene."""
    folder = tmp_path_factory.mktemp("augmented")
    rng = np.random.default_rng(0)
    for label in ("heads", "tails"):
        (folder / "photos" / label).mkdir(parents=True)
    for scene in range(120):
        label = "heads" if scene % 2 else "tails"
        for copy in range(4):
            file = folder / "photos" / label / f"{scene}-{copy}.png"
            Image.fromarray(augment(draw_scene(scene), rng)).save(file)
    ingest(folder / "photos", folder / "records")
    return folder / "records"


def test_augmenting_before_the_split_claims_what_is_not_there(augmented: Path) -> None:
    """Nothing can tell a coin's side from the scene; a random split says that it can."""
    proof = prove(augmented, LITE)
    assert proof.photos == 480
    assert proof.groups == 120
    assert proof.spanning == 0
    assert proof.random_spanning > 60
    assert min(proof.claimed) > 0.65
    assert proof.honest < 0.6
    assert f"{proof.honest:.3f}" in as_text(proof)


def with_radius(records: Path, folder: Path, bits: int) -> Path:
    """A copy of the records that says it was made with another radius."""
    copy = Path(shutil.copytree(records, folder / "copy"))
    manifest = copy / "span-1" / spans.MANIFEST
    content = json.loads(manifest.read_text())
    content["alike"]["radius"] = bits
    manifest.write_text(json.dumps(content))
    return copy


def test_a_group_in_two_splits_is_a_failure(
    augmented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a radius in which unlike scenes are near-duplicates, the splits are no longer apart."""
    records = with_radius(augmented, tmp_path, 110)
    options = ["--set", "model.backbone=efficientnet_lite0"]
    assert main(["data", "--prove", str(records), *options]) == Exit.FAILED
    assert "groups in two splits" in capsys.readouterr().out


def test_nothing_is_proved_where_near_duplicates_could_not_be_told(
    augmented: Path, tmp_path: Path
) -> None:
    records = with_radius(augmented, tmp_path, -1)
    with pytest.raises(DataError, match=f"nothing can be proved of {records}"):
        prove(records, LITE)


def test_groups_in_two_splits_are_counted_once() -> None:
    groups = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    splits = np.array(["train", "val", "test", "val", "val", "test", "train", "test"])
    assert count_spanning(groups, splits) == 2


def test_spans_that_add_to_others_are_looked_at_together(
    augmented: Path, tmp_path: Path, draw_scene: Draw
) -> None:
    photos = augmented.parent / "photos"
    out = tmp_path / "records"
    ingest(photos, out)
    extra = photos / "heads" / "new.png"
    Image.fromarray(draw_scene(1000)).save(extra)
    ingest(photos, out, span=2)
    assert [span.name for span in find_spans(out)] == ["span-2", "span-1"]
    assert [span.name for span in find_spans(out / "span-2")] == ["span-2", "span-1"]
    assert [span.name for span in find_spans(out / "span-1")] == ["span-1"]
    alone = Path(shutil.copytree(out / "span-2", tmp_path / "alone"))
    with pytest.raises(DataError, match=f"{alone} holds only what was new: put it back beside"):
        find_spans(alone)
    extra.unlink()
    ingest(photos, out)
    assert [span.name for span in find_spans(out)] == ["span-3"]


def test_no_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no records at {tmp_path}"):
        prove(tmp_path, LITE)
    with pytest.raises(DataError, match="no records at"):
        prove(tmp_path / "nothing", LITE)


def test_the_smallest_radius_of_the_spans_counts_and_is_named() -> None:
    proof = Proof(10, 9, (70, 64, 68), 0, 1.0, (0.5,), 0.5, 3)
    assert "(up to 64 of 256 bits differ, the least of 64 to 70 in these spans)" in as_text(proof)
    single = dataclasses.replace(proof, radii=(70,))
    assert "(up to 70 of 256 bits differ)" in as_text(single)
