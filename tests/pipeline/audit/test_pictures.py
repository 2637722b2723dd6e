from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.errors import ComponentError
from components.model.imagenet_head import DOGS
from data.audit import Fact
from pipeline.audit import pictures
from pipeline.audit.pictures import Doubts, find_doubts, find_padded
from tests.pipeline.audit.conftest import NewFact

Padding = Callable[[int], Fact]


@pytest.fixture
def padded(new_fact: NewFact, tmp_path: Path) -> Padding:
    """A photo of 100 lines between two white bars."""

    def write(bar: int) -> Fact:
        pixels = np.random.default_rng(bar).integers(0, 200, (100, 150, 3), np.uint8)
        framed = cv2.copyMakeBorder(
            pixels, bar, bar, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255)
        )
        file = tmp_path / f"{bar}.jpg"
        cv2.imwrite(str(file), framed)
        return new_fact(f"happy/{bar}.jpg", jpeg=str(file))

    return write


def test_padded_photos_are_found_the_widest_bars_first(new_fact: NewFact, padded: Padding) -> None:
    narrow, wide = padded(10), padded(50)
    found = find_padded([narrow, new_fact("happy/full.jpg"), wide], lambda done, total: None)
    assert [each.fact for each in found] == [wide, narrow]
    assert found[0].share == pytest.approx(0.5, abs=0.02)


def test_the_least_dog_comes_first_and_dogs_are_left_out(
    new_fact: NewFact, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Head:
        def probabilities(self, features: np.ndarray) -> np.ndarray:
            found = np.zeros((len(features), 1000), np.float32)
            found[:, DOGS[0]] = features[:, 0]
            found[:, 348] = 1 - features[:, 0]
            return found

    def features(jpegs: object, **options: object) -> np.ndarray:
        return np.array([[0.05], [0.9], [0.01]], np.float32)

    monkeypatch.setattr(pictures, "photo_features", features)
    monkeypatch.setattr(pictures, "find_head", lambda backbone, weights: Head())
    facts = [new_fact("a"), new_fact("b"), new_fact("c")]
    doubts = find_doubts(facts, "tiny", "random", lambda done, total: None)
    assert [doubt.fact.name for doubt in doubts.photos] == ["c", "a"]
    assert [doubt.instead for doubt in doubts.photos] == ["ram", "ram"]
    assert doubts.photos[0].dog == pytest.approx(0.01)
    assert (doubts.backbone, doubts.unjudged) == ("tiny", "")


def test_without_a_head_nothing_is_judged_and_the_reason_is_kept(new_fact: NewFact) -> None:
    doubts = find_doubts([new_fact()], "tiny", "random", lambda done, total: None)
    assert doubts == Doubts(unjudged="weights 'random' come without a head for ImageNet's classes")


def test_weights_out_of_reach_are_no_error(
    new_fact: NewFact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(backbone: str, weights: str) -> None:
        raise ComponentError("the host cannot be reached")

    monkeypatch.setattr(pictures, "resolve_auto", refuse)
    doubts = find_doubts([new_fact()], "auto", "auto", lambda done, total: None)
    assert doubts.unjudged == "the host cannot be reached"


def test_no_photo_is_no_error() -> None:
    doubts = find_doubts([], "auto", "auto", lambda done, total: None)
    assert doubts.unjudged == "there is no photo to judge"
