from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from components.evaluation.table import Predictions
from data import span_photos
from pipeline.report.differences import (
    Change,
    SplitChange,
    compare_answers,
    compare_data,
    compare_figures,
    setting_changes,
)
from pipeline.report.runs import Photo, Run, read_photos
from tests.pipeline.report.conftest import NewRun


def answering(run: Run, predicted: list[int], labels: list[int], photos: str) -> Run:
    """A run whose model gives these answers to photos named by letters."""
    probabilities = np.full((len(photos), 4), 0.1)
    probabilities[np.arange(len(photos)), predicted] = np.linspace(0.7, 0.6, len(photos))
    predictions = Predictions(
        classes=run.classes,
        filenames=tuple(f"{letter}.jpg" for letter in photos),
        photos=tuple(photos),
        images=tuple(photos),
        labels=np.array(labels),
        predicted=np.array(predicted),
        probabilities=probabilities,
        certain=None,
        dog=None,
        maps=None,
    )
    return Run(**{**vars(run), "predictions": predictions})


def test_photos_that_flip_are_told_apart_by_their_direction(new_run: NewRun) -> None:
    before = answering(new_run(), [0, 1, 2, 3], [0, 0, 0, 3], "abcd")
    after = answering(new_run(), [2, 0, 2, 3], [0, 0, 0, 3], "abcd")
    found = compare_answers(before, after)
    assert found is not None
    assert [(flip.filename, flip.label, flip.before, flip.after) for flip in found.lost] == [
        ("a.jpg", "angry", "angry", "relaxed")
    ]
    assert [(flip.filename, flip.label, flip.before, flip.after) for flip in found.gained] == [
        ("b.jpg", "angry", "happy", "angry")
    ]


def test_only_photos_of_both_under_the_same_label_are_paired(new_run: NewRun) -> None:
    before = answering(new_run(), [0, 0, 0], [0, 0, 0], "abc")
    after = answering(new_run(), [0, 1, 0], [0, 0, 1], "bcd")
    found = compare_answers(before, after)
    assert found is not None
    assert (found.photos, found.before, found.after) == (2, 1.0, 0.5)
    assert [flip.sha256 for flip in found.lost] == ["c"]
    assert not found.gained


def test_nothing_in_common_is_not_compared(new_run: NewRun) -> None:
    before = answering(new_run(), [0], [0], "a")
    assert compare_answers(before, answering(new_run(), [0], [0], "b")) is None


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (1, 9), (12, 3)])
def test_the_chance_is_that_of_the_exact_two_sided_test(
    new_run: NewRun, gained: int, lost: int
) -> None:
    photos = "".join(chr(300 + n) for n in range(gained + lost + 1))
    right, wrong = [0] * gained, [1] * lost
    before = answering(new_run(), [1] * gained + [0] * lost + [0], [0] * len(photos), photos)
    after = answering(new_run(), [*right, *wrong, 0], [0] * len(photos), photos)
    found = compare_answers(before, after)
    assert found is not None
    assert (len(found.gained), len(found.lost)) == (gained, lost)
    n = gained + lost
    wanted = min(1.0, 2 * binom.cdf(min(gained, lost), n, 0.5)) if n else 1.0
    assert found.chance == pytest.approx(wanted)


def test_the_surest_flips_come_first(new_run: NewRun) -> None:
    before = answering(new_run(), [0, 0, 0], [0, 0, 0], "abc")
    after = answering(new_run(), [1, 1, 1], [0, 0, 0], "cab")
    found = compare_answers(before, after)
    assert found is not None
    assert [flip.sha256 for flip in found.lost] == ["c", "a", "b"]


def test_each_figure_is_that_of_its_evaluation(new_run: NewRun) -> None:
    before, after = new_run(), new_run("after", seed=1)
    figures = {figure.name: figure for figure in compare_figures(before, after)}
    accuracy = figures["accuracy"]
    assert accuracy.before is not None
    assert accuracy.after is not None
    assert accuracy.before.value == before.evaluation.accuracy
    assert accuracy.after.interval == after.evaluation.interval
    wanted = after.evaluation.accuracy - before.evaluation.accuracy
    assert accuracy.difference == pytest.approx(wanted)
    recall = figures["recall of sad"].after
    assert recall is not None
    assert recall.value == pytest.approx(after.evaluation.recall["sad"])


def test_a_class_of_one_run_alone_has_no_difference(new_run: NewRun) -> None:
    after = new_run("after", classes=("angry", "happy", "relaxed", "calm"))
    figures = {figure.name: figure for figure in compare_figures(new_run(), after)}
    assert figures["recall of calm"].before is None
    assert figures["recall of calm"].difference is None
    assert figures["recall of sad"].after is None


def test_settings_are_named_as_the_command_line_does() -> None:
    before = {"training": {"seed": 0, "patience": 3}, "gate": {"accuracy_floor": None}}
    after = {"training": {"seed": 1, "patience": 3}, "gate": {"accuracy_floor": 0.5}, "new": True}
    assert setting_changes(before, after) == [
        Change("gate.accuracy_floor", "none", "0.5"),
        Change("new", None, "True"),
        Change("training.seed", "0", "1"),
    ]


def test_photos_are_compared_by_their_files(new_run: NewRun) -> None:
    run = new_run()
    first = {
        ("a", 0): Photo("train", "sad"),
        ("a", 1): Photo("train", "sad"),
        ("b", 0): Photo("train", "sad"),
        ("c", 0): Photo("test", "sad"),
    }
    second = {
        ("a", 0): Photo("train", "happy"),
        ("b", 0): Photo("val", "sad"),
        ("d", 0): Photo("test", "sad"),
    }
    found = compare_data(
        Run(**{**vars(run), "photos": first}), Run(**{**vars(run), "photos": second})
    )
    assert found is not None
    assert found.splits == (
        SplitChange("train", 3, 1, 1),
        SplitChange("val", 0, 1, 0),
        SplitChange("test", 1, 1, 0),
    )
    assert (found.moved, found.relabelled) == (1, 1)


def test_records_that_are_gone_are_not_compared(new_run: NewRun) -> None:
    run = new_run()
    assert compare_data(run, Run(**{**vars(run), "photos": None})) is None


def test_equal_files_are_counted_one_by_one(tmp_path: Path) -> None:
    (tmp_path / span_photos.TABLE).write_text(
        "path,label,split,group,pixels,sha256\n"
        "a/1.jpg,a,train,g,p,s\n"
        "a/2.jpg,a,train,g,p,s\n"
        "b/3.jpg,b,test,h,q,t\n"
    )
    found = read_photos(tmp_path)
    assert found is not None
    assert sorted(found) == [("s", 0), ("s", 1), ("t", 0)]
    assert read_photos(tmp_path / "gone") is None
