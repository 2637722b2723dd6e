"""What is told of a prediction, and where its evidence lies."""

import cv2
import numpy as np
import pytest

from serving.asking.prediction import Evidence, Prediction, centred_square


@pytest.mark.parametrize(
    ("certain", "dog", "told"),
    [
        (None, None, "sad"),
        (True, None, "sad"),
        (False, None, "not sure"),
        (True, 0.5, "sad"),
        (False, 0.5, "not sure"),
        (True, 0.49, "no dog here"),
        (False, 0.0, "no dog here"),
    ],
)
def test_a_label_is_told_only_where_there_is_a_dog_and_the_model_is_sure(
    certain: bool | None, dog: float | None, told: str
) -> None:
    assert Prediction("sad", {"happy": 0.4, "sad": 0.6}, certain, dog).answer == told


def test_evidence_is_measured_by_its_strongest_part_and_what_speaks_against_is_none() -> None:
    found = Evidence("sad", np.array([[-3, 0], [1, 4]], np.float32))
    assert found.shares.tolist() == [[0, 0], [0.25, 1]]
    assert not Evidence("sad", np.full((2, 2), -1, np.float32)).shares.any()


@pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (50, 50), (1, 512)])
def test_the_square_is_the_one_that_the_model_sees(height: int, width: int) -> None:
    from components.model.preprocessing import decode_and_fit

    top, left, side = centred_square(height, width)
    photo = np.zeros((height, width, 3), np.uint8)
    photo[top : top + side, left : left + side] = 255
    seen = decode_and_fit(cv2.imencode(".png", photo)[1].tobytes())
    assert float(np.min(seen)) > 254.9
    photo = 255 - photo
    assert float(np.max(decode_and_fit(cv2.imencode(".png", photo)[1].tobytes()))) == 0
