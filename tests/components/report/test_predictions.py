from pathlib import Path

import numpy as np
import pytest

from components.errors import ComponentError
from components.evaluation.table import Predictions, read_table
from components.report.calibration import certain_share, coverage_curve
from tests.components.report.conftest import write_evaluation

CLASSES = ("b", "a")


def table(confidence: list[float], right: list[bool]) -> Predictions:
    """Two classes; all photos are of the first."""
    first = np.where(right, confidence, 1 - np.array(confidence))
    return Predictions(
        classes=CLASSES,
        filenames=tuple(map(str, range(len(right)))),
        photos=tuple(map(str, range(len(right)))),
        images=tuple(map(str, range(len(right)))),
        labels=np.zeros(len(right), np.int64),
        predicted=np.where(right, 0, 1),
        probabilities=np.stack([first, 1 - first], axis=1),
        certain=None,
        dog=None,
        maps=None,
    )


def test_what_the_evaluator_wrote_is_read_back(tmp_path: Path) -> None:
    evaluation = write_evaluation(tmp_path, CLASSES, photos=50)
    found = read_table(tmp_path, CLASSES)
    assert len(found) == 50
    assert found.right.mean() == evaluation.accuracy
    assert found.certain is not None
    assert found.dog is not None
    assert found.maps is not None
    assert found.maps.shape == (50, 7, 7)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_what_a_model_does_not_say_is_none(tmp_path: Path) -> None:
    write_evaluation(tmp_path, CLASSES, photos=5, says_more=False)
    found = read_table(tmp_path, CLASSES)
    assert found.certain is None
    assert found.dog is None
    assert found.maps is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "predictions.csv").unlink(),
        lambda folder: (folder / "predictions.csv").write_text("filename,label\n"),
        lambda folder: (folder / "maps.npy").write_bytes(b"no array"),
        lambda folder: np.save(folder / "maps.npy", np.zeros((3, 7, 7))),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, damage: object) -> None:
    write_evaluation(tmp_path, CLASSES, photos=5)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(ComponentError, match=r"predictions\.csv is missing or damaged"):
        read_table(tmp_path, CLASSES)


def test_a_table_of_other_classes_is_refused(tmp_path: Path) -> None:
    write_evaluation(tmp_path, CLASSES, photos=5)
    with pytest.raises(ComponentError, match="damaged"):
        read_table(tmp_path, ("c", "d"))


def test_the_curve_gives_the_accuracy_of_the_surest() -> None:
    confidence = [0.99 - n / 100 for n in range(20)]
    right = [True] * 12 + [False] * 8
    curve = dict(coverage_curve(table(confidence, right)))
    assert curve[0.5] == 1.0
    assert curve[0.75] == 12 / 15
    assert curve[1.0] == 0.6
    assert min(curve) == 0.5


def test_photos_of_the_same_probability_come_together() -> None:
    right = [True] * 15 + [False] * 15
    assert coverage_curve(table([0.9] * 30, right)) == [(1.0, 0.5)]


@pytest.mark.parametrize("photos", [1, 9, 10, 11])
def test_few_photos_have_a_curve(photos: int) -> None:
    confidence = [0.99 - n / 100 for n in range(photos)]
    assert coverage_curve(table(confidence, [True] * photos))[-1] == (1.0, 1.0)


def test_the_curve_of_many_photos_is_bounded() -> None:
    random = np.random.default_rng(0)
    confidence = list(random.uniform(0.5, 1, 50_000))
    curve = coverage_curve(table(confidence, list(random.random(50_000) < 0.7)))
    assert len(curve) < 250
    assert curve[-1][0] == 1.0


def test_no_certain_answer_has_no_accuracy() -> None:
    predictions = table([0.9, 0.8], [True, False])
    assert certain_share(predictions) is None
    never = Predictions(**{**vars(predictions), "certain": np.zeros(2, bool)})
    found = certain_share(never)
    assert found is not None
    assert (found.photos, found.coverage, found.accuracy, found.interval) == (0, 0.0, None, None)
