import base64

import cv2
import numpy as np
import pytest
from markupsafe import Markup
from numpy.typing import NDArray

from components.report.evidence import evidence_thumbnail


def pixels(uri: Markup) -> NDArray[np.int64]:
    """The picture of a `data:` URI, BGR."""
    content = base64.b64decode(uri.partition(",")[2])
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image.astype(np.int64)


def grey_jpeg(height: int, width: int) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), 100, np.uint8))[1].tobytes()


def redness(image: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(image[..., 2] - image[..., 0])


def test_what_speaks_for_the_class_is_red_and_the_rest_is_grey() -> None:
    evidence = np.full((7, 7), -1.0)
    evidence[0, 0] = 2.0
    image = redness(pixels(evidence_thumbnail(grey_jpeg(128, 128), evidence)))
    assert image[4, 4] > 100
    assert abs(image[64:, 64:]).max() < 12


@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64)])
def test_what_the_model_does_not_see_is_pale_and_has_no_evidence(height: int, width: int) -> None:
    image = pixels(evidence_thumbnail(grey_jpeg(height, width), np.ones((7, 7))))
    assert image.shape[:2] == (height, width)
    edge = image[2, 2]
    assert edge.min() > 200
    assert redness(image)[height // 2, width // 2] > 100


@pytest.mark.parametrize("evidence", [np.zeros((7, 7)), np.full((2, 3), -5.0)])
def test_where_nothing_speaks_for_it_nothing_is_red(evidence: NDArray[np.float64]) -> None:
    assert abs(redness(pixels(evidence_thumbnail(grey_jpeg(90, 90), evidence)))).max() < 12


def test_no_picture_is_told() -> None:
    with pytest.raises(ValueError, match="not a picture"):
        evidence_thumbnail(b"no jpeg", np.ones((7, 7)))
